"""Replicas that die, hang, lie, come and go: what users see of it, and what is left in the log."""

from __future__ import annotations

import contextlib
import functools
import math
import multiprocessing
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import httpx
import pytest

from rollout.gateway.upstream import Address, Pool
from rollout.wiring import gateway_app
from tests.support.gateway import (
    CANDIDATE,
    NAME,
    STABLE,
    World,
    environment,
    eventually,
    routes,
    running,
    write_environment,
)
from tests.support.upstream import Behaviour, FakeUpstream, serving

STREAM = {"model": NAME, "prompt": "x", "stream": True}
BOTH = {STABLE: Behaviour(), CANDIDATE: Behaviour()}


def replica(world: World, name: str) -> dict[str, Any]:
    """What the status page says of one replica."""
    return next(found for found in world.status()["replicas"] if found["name"] == name)


def _serve(pipe: Connection, port: int, models: dict[str, Behaviour]) -> None:
    import uvicorn

    async def announce() -> None:
        pipe.send(None)

    config = uvicorn.Config(
        FakeUpstream(models), port=port, log_level="critical", callback_notify=announce, timeout_notify=0
    )
    uvicorn.Server(config).run()


@contextlib.contextmanager
def server_process(port: int, models: dict[str, Behaviour]) -> Iterator[Callable[[], None]]:
    """A replica in a process of its own; gives what kills it."""
    here, there = multiprocessing.Pipe()
    started = multiprocessing.get_context("spawn").Process(target=_serve, args=(there, port, models))
    started.start()
    assert here.poll(30), "it did not start"

    def kill() -> None:
        assert started.pid
        os.kill(started.pid, signal.SIGKILL)
        started.join()

    try:
        yield kill
    finally:
        started.kill()
        started.join()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@pytest.mark.e2e
def test_a_replica_that_is_killed_mid_stream_breaks_that_answer_and_no_other(tmp_path: Path) -> None:
    port = free_port()
    slow = {STABLE: Behaviour(token_delay_s=0.1)}
    with (
        server_process(port, slow) as kill,
        running(tmp_path, replicas=(f"http://127.0.0.1:{port}",)) as world,
    ):
        eventually(lambda: replica(world, "r0")["listed"] == 1)
        with world.client.stream("POST", "/v1/completions", json=STREAM) as answer:
            chunks = answer.iter_raw()
            next(chunks)
            kill()
            with pytest.raises(httpx.RemoteProtocolError):
                list(chunks)
        assert [world.ask("ann").status_code for _ in range(4)] == [200] * 4
        broken, *others = world.rows()
        assert (broken["replica"], broken["error_class"]) == ("r0", "broken_off")
        assert {(row["replica"], row["error"]) for row in others} == {("r1", None)}
        eventually(lambda: replica(world, "r0")["error"] == "it could not be reached")
        assert replica(world, "r0")["up"] is False


@pytest.mark.e2e
def test_a_replica_that_comes_back_gets_an_adapter_only_when_it_lists_it(tmp_path: Path) -> None:
    port = free_port()
    with running(tmp_path, replicas=(f"http://127.0.0.1:{port}",)) as world:
        eventually(lambda: not replica(world, "r0")["up"])
        with server_process(port, {"base": Behaviour()}):
            eventually(lambda: replica(world, "r0")["up"] and replica(world, "r0")["listed"] == 1)
            assert {world.ask("ann").status_code for _ in range(6)} == {200}
        assert {row["replica"] for row in world.rows()} == {"r1"}
        eventually(lambda: not replica(world, "r0")["up"])
        with server_process(port, BOTH):
            eventually(lambda: replica(world, "r0")["listed"] == 2)
            world.ask("ann")
            world.ask("ann")
        assert {row["replica"] for row in world.rows()[-2:]} == {"r0", "r1"}


def test_a_replica_without_the_adapter_is_not_even_asked(tmp_path: Path) -> None:
    bare = FakeUpstream({"base": Behaviour()})
    with serving(bare) as url, running(tmp_path, replicas=(url,)) as world:
        eventually(lambda: replica(world, "r0")["listed"] == 1)
        assert [world.ask("ann").status_code for _ in range(6)] == [200] * 6
        assert bare.paths == []


def test_where_no_replica_lists_the_adapter_all_are_asked(tmp_path: Path) -> None:
    """A list may be a second older than a load."""
    bare, loaded = FakeUpstream(), FakeUpstream()
    with serving(bare) as one, serving(loaded) as other, running(tmp_path, replicas=(one, other)) as world:
        world.upstream.models.clear()
        eventually(lambda: [replica(world, name)["listed"] for name in ("r0", "r1", "r2")] == [0] * 3)
        loaded.lists = False
        loaded.models[STABLE] = Behaviour()
        assert world.ask("ann").status_code == 200
        assert world.rows()[0]["replica"] == "r1"


def test_the_first_answer_of_an_adapter_on_each_replica_is_a_cold_one(tmp_path: Path) -> None:
    with serving(FakeUpstream(dict(BOTH))) as url, running(tmp_path, replicas=(url,)) as world:
        for _ in range(4):
            world.ask("ann")
        rows = world.rows()
        assert {row["replica"] for row in rows} == {"r0", "r1"}
        for name in ("r0", "r1"):
            assert [row["cold"] for row in rows if row["replica"] == name] == [1, 0]


def test_an_adapter_that_was_taken_away_and_loaded_again_is_cold_again(tmp_path: Path) -> None:
    with running(tmp_path) as world:
        world.ask("ann")
        taken = world.upstream.models.pop(STABLE)
        eventually(lambda: replica(world, "r0")["listed"] == 1)
        world.upstream.models[STABLE] = taken
        eventually(lambda: replica(world, "r0")["listed"] == 2)
        world.ask("ann")
        world.ask("ann")
        assert [row["cold"] for row in world.rows()] == [1, 1, 0]


def test_the_replica_with_the_fewest_requests_is_asked(tmp_path: Path) -> None:
    hanging = FakeUpstream({STABLE: Behaviour(delay_s=60)})
    with serving(hanging) as url, running(tmp_path, replicas=(url,)) as world:
        waiting = threading.Thread(target=_give_up_soon, args=(world.url,))
        waiting.start()
        eventually(lambda: hanging.busy == 1)
        assert replica(world, "r0")["outstanding"] == 1
        assert {world.ask("ann").status_code for _ in range(6)} == {200}
        assert len(hanging.paths) == 1
        waiting.join()


def _give_up_soon(url: str) -> None:
    with contextlib.suppress(httpx.ReadTimeout):
        httpx.post(f"{url}/v1/completions", json={"model": NAME}, timeout=1.5)


def test_replicas_with_as_many_requests_take_turns() -> None:
    pool = Pool([Address(name=name, url="http://x") for name in ("a", "b", "c")])
    asked = []
    for _ in range(6):
        first = pool.order("m")[0]
        pool.take(first)
        asked.append(first.address.name)
    assert asked == ["a", "b", "c", "a", "b", "c"]
    pool.replicas[1].outstanding -= 1
    assert pool.order("m")[0].address.name == "b"


def test_a_silent_replica_is_a_timeout_and_its_request_is_ended(tmp_path: Path) -> None:
    with running(tmp_path, gateway={"read_timeout_s": 0.3}) as world:
        world.upstream.models[STABLE] = Behaviour(delay_s=60)
        answer = world.ask("ann")
        assert (answer.status_code, answer.json()["error"]["code"]) == (504, "upstream_timeout")
        row = world.rows()[0]
        assert (row["status"], row["error_class"]) == (0, "timeout")
        assert row["error"] == "no replica answered: it was silent for too long"
        eventually(lambda: world.upstream.left == 1)


def test_silence_in_the_middle_of_an_answer_breaks_it_off(tmp_path: Path) -> None:
    with running(tmp_path, gateway={"read_timeout_s": 0.3}) as world:
        world.upstream.models[STABLE] = Behaviour(token_delay_s=60)
        with pytest.raises(httpx.RemoteProtocolError):
            world.client.post("/v1/completions", json=STREAM)
        eventually(world.rows)
        row = world.rows()[0]
        assert (row["status"], row["error_class"]) == (200, "broken_off")


def test_tokens_that_come_slowly_are_no_silence(tmp_path: Path) -> None:
    with running(tmp_path, gateway={"read_timeout_s": 2}) as world:
        world.upstream.models[STABLE] = Behaviour(token_delay_s=0.15)  # 3.6 s in all
        answer = world.client.post("/v1/completions", json=STREAM)
        assert answer.content.endswith(b"data: [DONE]\n\n")
        assert world.rows()[0]["error"] is None


def _whole(request: bytes) -> float:
    """How long a request of which this has come will be, in bytes."""
    head, end, _ = request.partition(b"\r\n\r\n")
    said = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
    return len(head + end) + (int(said[1]) if said else 0) if end else math.inf


class RawServer(threading.Thread):
    """Takes connections and hands each, with the request that came over it, to `answer`."""

    def __init__(self, answer: Callable[[socket.socket], None]) -> None:
        super().__init__(daemon=True)
        self._answer = answer
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.requests: list[bytes] = []

    def run(self) -> None:
        while True:
            connection, _ = self._listening.accept()
            threading.Thread(target=self._take, args=(connection,), daemon=True).start()

    def _take(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            request = b""
            # What is left unread when a connection is closed resets it, and the answer is lost.
            while len(request) < _whole(request):
                part = connection.recv(65536)
                if not part:
                    return
                request += part
            if request.startswith(b"POST"):
                self.requests.append(request)
                self._answer(connection)
            else:
                # Said, so that nobody sends the next request over what is being closed.
                connection.sendall(
                    b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                )


@contextlib.contextmanager
def in_front_of(root: Path, *servers: RawServer, **changes: Any) -> Iterator[str]:
    """A gateway before raw servers."""
    from rollout.integrations.routesfile import RoutesFile

    for server in servers:
        server.start()
    RoutesFile(root / "routes.json", "test").update(lambda _: routes())
    with serving(gateway_app(environment(*(server.url for server in servers), **changes), root)) as url:
        yield url


def test_a_slow_reader_slows_the_replica_and_fills_no_memory(tmp_path: Path) -> None:
    whole, sent = 96 * 1024 * 1024, 0

    def flood(connection: socket.socket) -> None:
        nonlocal sent
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % whole
        connection.sendall(head)
        while sent < whole:
            sent += connection.send(b"x" * min(65536, whole - sent))

    with (
        in_front_of(tmp_path, RawServer(flood)) as url,
        httpx.stream("POST", f"{url}/v1/completions", json={"model": NAME}, timeout=30) as answer,
    ):
        stalled = _stalls(lambda: sent)
        assert 0 < stalled < whole / 2, "what is not read by the client is not read from the replica"
        delivered = sum(len(chunk) for chunk in answer.iter_raw())
    assert (delivered, sent) == (whole, whole)


def _stalls(progress: Callable[[], int]) -> int:
    """The progress once it has not moved for a second."""
    seen, since = -1, time.monotonic()
    while time.monotonic() - since < 1:
        if (now := progress()) != seen:
            seen, since = now, time.monotonic()
        time.sleep(0.02)
    return seen


def test_a_request_that_may_have_begun_is_not_sent_twice(tmp_path: Path) -> None:
    def hang_up(connection: socket.socket) -> None:
        connection.close()

    one, other = RawServer(hang_up), RawServer(hang_up)
    with in_front_of(tmp_path, one, other) as url:
        assert httpx.post(f"{url}/v1/completions", json={"model": NAME}).status_code == 502
    assert len(one.requests) + len(other.requests) == 1


def test_a_candidate_that_hangs_up_on_copies_costs_users_no_connection(tmp_path: Path) -> None:
    body = b'{"id": "1", "choices": [{"text": "x"}], "usage": {"completion_tokens": 1}}'
    whole = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
        len(body),
        body,
    )
    by_connection: list[list[str]] = []

    def serve(connection: socket.socket) -> None:
        mine: list[str] = []
        by_connection.append(mine)
        request = server.requests[-1]
        while request:
            mine.append("copy" if CANDIDATE.encode() in request else "user")
            if mine[-1] == "copy":
                return
            connection.sendall(whole)
            request = connection.recv(65536)

    server = RawServer(serve)
    with in_front_of(tmp_path, server) as url, httpx.Client(base_url=url) as client:
        from rollout.integrations.routesfile import RoutesFile

        RoutesFile(tmp_path / "routes.json", "test").update(lambda _: routes(2, mirror="100%"))
        eventually(lambda: client.get("/rollout/status").json()["routes_revision"] == 2)
        for number in range(5):
            assert client.post("/v1/completions", json={"model": NAME, "prompt": "x"}).status_code == 200
            eventually(functools.partial(_copies, by_connection, number + 1))
    assert not any({"user", "copy"} <= set(said) for said in by_connection)


def _copies(by_connection: list[list[str]], wanted: int) -> bool:
    return sum("copy" in said for said in by_connection) == wanted


def test_headers_and_query_reach_the_replica_as_the_bytes_that_they_were(tmp_path: Path) -> None:
    body = b'{"id": "1", "choices": [{"text": "x"}]}'

    def answer(connection: socket.socket) -> None:
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nX-Odd: \xe9\xfft\r\ncontent-length: %d\r\n\r\n"
        connection.sendall(head % len(body) + body)

    server = RawServer(answer)
    value = 'Zoë 😀 \t a;b="c", %20+'.encode()
    asked = b'{"model": "%s"}' % NAME.encode()
    with in_front_of(tmp_path, server) as url, _connected(url) as connection:
        connection.sendall(
            b"POST /v1/completions?a=%20b+c&d='\"<{|}>^`&e=%C3%A9 HTTP/1.1\r\nHost: users.example\r\n"
            b"Content-Type: application/json\r\nX-Trace: " + value + b"\r\nX-Empty:\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (len(asked), asked)
        )
        told = connection.recv(65536)
    assert b"x-odd: \xe9\xfft\r\n" in told
    head = server.requests[0].split(b"\r\n\r\n")[0].split(b"\r\n")
    assert head[0] == b"POST /v1/completions?a=%20b+c&d='\"<{|}>^`&e=%C3%A9 HTTP/1.1"
    lines = [line.lower() if line.lower().startswith(b"host") else line for line in head[1:]]
    assert b"x-trace: " + value in lines
    assert b"host: " + server.url.removeprefix("http://").encode() in lines
    names = [line.partition(b":")[0].lower() for line in lines]
    assert not {b"user-agent", b"accept", b"cookie"} & set(names), "nothing is said in the client's name"
    assert len(names) == len(set(names))


def test_no_byte_of_a_header_or_query_is_the_adapters_failure(tmp_path: Path) -> None:
    with running(tmp_path) as world:
        asked = b'{"model": "%s"}' % NAME.encode()
        taken = 0
        for byte in range(1, 256):
            for place in (b"x-odd: a%sb\r\n", b"?q=a%sb"):
                odd = place % bytes([byte])
                query, header = (odd, b"") if odd.startswith(b"?") else (b"", odd)
                with _connected(world.url) as connection:
                    connection.sendall(
                        b"POST /v1/completions%s HTTP/1.1\r\nhost: x\r\nconnection: close\r\n%s"
                        b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
                        % (query, header, len(asked), asked)
                    )
                    status = connection.makefile("rb").readline().split(b" ")[1:2]
                assert status in ([], [b"200"], [b"400"], [b"404"]), odd
                taken += status == [b"200"]
        assert taken > 300
        assert {row["error"] for row in world.rows()} == {None}


@contextlib.contextmanager
def _connected(url: str) -> Iterator[socket.socket]:
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        yield connection


def test_replicas_are_added_and_removed_while_it_runs(tmp_path: Path) -> None:
    added = FakeUpstream(dict(BOTH))
    with serving(added) as url, running(tmp_path) as world:
        first = world.upstream_url
        world.upstream.models[STABLE] = Behaviour(token_delay_s=0.1)
        with world.client.stream("POST", "/v1/completions", json=STREAM) as answer:
            chunks = answer.iter_raw()
            said = [next(chunks)]
            write_environment(tmp_path, url)
            leaving = eventually(lambda: [one for one in world.status()["replicas"] if one["draining"]])
            assert [(one["name"], one["outstanding"]) for one in leaving] == [("r0", 1)]
            other = httpx.post(f"{world.url}/v1/completions", json={"model": NAME})
            assert (other.status_code, added.paths) == (200, ["/v1/completions"])
            said += chunks
        assert b"".join(said).endswith(b"data: [DONE]\n\n"), "what was under way is finished"
        eventually(lambda: not any(one["draining"] for one in world.status()["replicas"]))
        write_environment(tmp_path, url, first)
        eventually(lambda: len(world.status()["replicas"]) == 2)
        world.upstream.models[STABLE] = Behaviour()
        assert {world.ask("ann").status_code for _ in range(4)} == {200}
        assert {row["replica"] for row in world.rows()[-4:]} == {"r0", "r1"}


@pytest.mark.parametrize(
    "broken", [b"", b"replicas: [", b"schema: adapter-rollout/environment/v1\nname: other\n"]
)
def test_a_broken_environment_changes_no_replica_and_is_said(tmp_path: Path, broken: bytes) -> None:
    with running(tmp_path) as world:
        path = tmp_path / "policies" / "environments" / "test.yaml"
        write_environment(tmp_path, world.upstream_url, "http://127.0.0.1:9")
        eventually(lambda: len(world.status()["replicas"]) == 2)
        path.write_bytes(broken)
        assert eventually(lambda: world.status()["replicas_error"])
        assert world.ask("ann").status_code == 200
        assert len(world.status()["replicas"]) == 2
        write_environment(tmp_path, world.upstream_url)
        eventually(lambda: len(world.status()["replicas"]) == 1)
        assert world.status()["replicas_error"] is None


class Guarded(FakeUpstream):
    """Lists its models with a key only, as vLLM does with `--api-key`."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = dict(scope.get("headers", ()))
        if scope.get("path") == "/v1/models" and headers.get(b"authorization") != b"Bearer s3cret-of-replica":
            await send({"type": "http.response.start", "status": 401, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
            return
        await super().__call__(scope, receive, send)


def test_a_replica_is_asked_with_its_token_which_is_shown_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPLICA_TOKEN", "s3cret-of-replica")
    from rollout.integrations.routesfile import RoutesFile

    RoutesFile(tmp_path / "routes.json", "test").update(lambda _: routes())
    with serving(Guarded(dict(BOTH))) as url:
        guarded = [
            {"name": "with", "url": url, "token_env": "REPLICA_TOKEN"},
            {"name": "without", "url": url},
        ]
        with serving(gateway_app(environment(replicas=guarded), tmp_path)) as gateway:
            eventually(lambda: _told(gateway)[0]["listed"] is not None and _told(gateway)[1]["error"])
            page = _told(gateway)
    one, other = page
    assert (one["up"], one["listed"], one["error"]) == (True, 2, None)
    assert (other["up"], other["listed"]) == (True, None), "it may have anything, as far as one can tell"
    assert other["error"] == "its list of models cannot be read (status 401)"
    assert "s3cret" not in str(page)
    assert "s3cret" not in repr(Address(name="with", url=url, token="s3cret-of-replica"))


def _told(gateway: str) -> list[dict[str, Any]]:
    replicas: list[dict[str, Any]] = httpx.get(f"{gateway}/rollout/status").json()["replicas"]
    return replicas
