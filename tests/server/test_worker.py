from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rollout.core.generation import Decoding, Token
from rollout.errors import LoadRefused
from rollout.server.answer import Answer, Piece
from rollout.server.worker import Failure, Sink, Worker


class Counter:
    """A decoder that makes the tokens 0, 1, 2, ... and one step only when it is allowed to."""

    def __init__(self) -> None:
        self.rows: dict[int, tuple[Decoding, int]] = {}
        self.adapters: list[str] = []
        self.widest = 0
        self.allowed = threading.Semaphore(0)
        self.broken = False

    def load(self, key: str, folder: Path) -> None:
        if folder.name == "bad":
            raise LoadRefused("bad")
        self.adapters.append(key)

    def unload(self, key: str) -> None:
        assert all(asked.adapter != key for asked, _ in self.rows.values())
        self.adapters.remove(key)

    def add(self, number: int, asked: Decoding) -> None:
        assert asked.adapter is None or asked.adapter in self.adapters
        self.rows[number] = (asked, 0)
        self.widest = max(self.widest, len({asked.adapter for asked, _ in self.rows.values()} - {None}))

    def drop(self, number: int) -> None:
        self.rows.pop(number, None)

    def step(self) -> list[tuple[int, Token]]:
        self.allowed.acquire()
        if self.broken:
            raise RuntimeError("out of memory")
        made = []
        for number, (asked, count) in list(self.rows.items()):
            last = count + 1 >= asked.max_tokens
            made.append((number, Token(id=count, logprob=0.0, finish="length" if last else None)))
            self.rows[number] = (asked, count + 1)
            if last:
                del self.rows[number]
        return made


class Digits:
    def feed(self, token: int) -> str:
        return str(token)

    def rest(self) -> str:
        return ""


class Client:
    """Collects the pieces of one row."""

    def __init__(self) -> None:
        self.text = ""
        self.failure: str | None = None
        self.done = threading.Event()

    def __call__(self, piece: Piece | Failure) -> None:
        if isinstance(piece, Failure):
            self.failure = piece.message
            self.done.set()
            return
        self.text += piece.text
        if piece.finish is not None:
            self.done.set()


def post(pieces: list[tuple[Sink, Piece | Failure]]) -> None:
    for sink, piece in pieces:
        sink(piece)


@pytest.fixture
def decoder() -> Counter:
    return Counter()


@pytest.fixture
def worker(decoder: Counter) -> Iterator[Worker]:
    worker = Worker(decoder, batch_size=3, max_loras=2, post=post)
    worker.start()
    yield worker
    decoder.allowed.release(1000)
    worker.stop(5)


def submit(
    worker: Worker, adapter: str | None = None, *, max_tokens: int = 3, stop: str = ""
) -> tuple[Client, int]:
    client = Client()
    asked = Decoding(prompt=(1,), adapter=adapter, max_tokens=max_tokens)
    number = worker.submit(asked, Answer(Digits(), (stop,) if stop else ()), client)
    return client, number


def load(worker: Worker, *keys: str) -> None:
    for key in keys:
        worker.load(key, Path(key)).result(5)


def settle(worker: Worker, *, running: int, waiting: int) -> None:
    deadline = time.monotonic() + 5
    while (worker.running, worker.waiting) != (running, waiting):
        assert time.monotonic() < deadline, (worker.running, worker.waiting)
        time.sleep(0.001)


def test_rows_beyond_the_batch_wait_for_their_turn(worker: Worker, decoder: Counter) -> None:
    clients = [submit(worker)[0] for _ in range(5)]
    settle(worker, running=3, waiting=2)
    decoder.allowed.release(1000)
    assert all(client.done.wait(5) for client in clients)
    assert [client.text for client in clients] == ["012"] * 5


def test_a_batch_holds_no_more_adapters_than_allowed(worker: Worker, decoder: Counter) -> None:
    load(worker, "a", "b", "c")
    clients = [submit(worker, adapter)[0] for adapter in ("a", "b", "c", "a")]
    settle(worker, running=2, waiting=2)
    decoder.allowed.release(1000)
    assert all(client.done.wait(5) for client in clients)
    assert decoder.widest == 2


def test_a_forgotten_adapter_serves_what_was_accepted_and_then_goes(worker: Worker, decoder: Counter) -> None:
    load(worker, "a")
    client, _ = submit(worker, "a")
    worker.forget("a")
    settle(worker, running=1, waiting=0)
    assert decoder.adapters == ["a"]
    decoder.allowed.release(3)
    assert client.done.wait(5)
    assert client.text == "012"
    load(worker, "b")
    assert decoder.adapters == ["b"]


def test_a_cancelled_row_leaves_and_makes_room(worker: Worker, decoder: Counter) -> None:
    rows = [submit(worker, max_tokens=1000) for _ in range(4)]
    settle(worker, running=3, waiting=1)
    worker.cancel(rows[0][1])
    worker.cancel(rows[1][1])
    worker.cancel(99)
    decoder.allowed.release(1)
    settle(worker, running=2, waiting=0)
    assert not rows[0][0].done.is_set()


def test_a_stop_text_frees_the_row(worker: Worker, decoder: Counter) -> None:
    client, _ = submit(worker, max_tokens=1000, stop="34")
    decoder.allowed.release(5)
    assert client.done.wait(5)
    assert client.text == "012"
    settle(worker, running=0, waiting=0)


def test_a_refused_load_reaches_its_caller_and_harms_nobody(worker: Worker, decoder: Counter) -> None:
    with pytest.raises(LoadRefused, match="bad"):
        worker.load("x", Path("bad")).result(5)
    decoder.allowed.release(1000)
    client, _ = submit(worker)
    assert client.done.wait(5)
    assert worker.healthy


def test_a_decoder_that_fails_ends_every_row_and_the_health(worker: Worker, decoder: Counter) -> None:
    clients = [submit(worker)[0] for _ in range(4)]
    settle(worker, running=3, waiting=1)
    decoder.broken = True
    decoder.allowed.release(1)
    assert all(client.done.wait(5) for client in clients)
    assert {client.failure for client in clients} == {"the engine is dead; see the server's log"}
    assert not worker.healthy
    late, _ = submit(worker)
    assert late.done.wait(5)
    assert late.failure is not None


def test_stopping_fails_what_still_runs(decoder: Counter) -> None:
    worker = Worker(decoder, batch_size=3, max_loras=2, post=post)
    worker.start()
    client, _ = submit(worker)
    settle(worker, running=1, waiting=0)
    decoder.allowed.release(1)
    worker.stop(5)
    assert client.failure == "the server is stopping"
    assert not worker.healthy
