"""Clients that are slow, many, or rude: they cost nobody else anything, and each hears why."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import resource
import selectors
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from rollout.gateway.connection import Connection, Patience
from tests.support.gateway import CANDIDATE, NAME, STABLE, eventually, process, running
from tests.support.upstream import Behaviour, FakeUpstream, serving

BODY = json.dumps({"model": NAME, "prompt": "x"}).encode()
HEAD = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
REQUEST = HEAD + b"content-length: %d\r\n\r\n%s" % (len(BODY), BODY)


@pytest.fixture(scope="module")
def behind() -> Iterator[str]:
    with serving(FakeUpstream({STABLE: Behaviour(), CANDIDATE: Behaviour()})) as url:
        yield url


def connect(url: str, *, buffer: int | None = None) -> socket.socket:
    """A connection to a server, whose reads give up after ten seconds."""
    host, _, port = url.removeprefix("http://").partition(":")
    connection = socket.socket()
    if buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    connection.settimeout(10)
    connection.connect((host, int(port)))
    return connection


def ended(connection: socket.socket) -> bytes:
    """All that comes until the other side closes the connection; it has to."""
    told = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            told += part
    return told


def cut_off(connection: socket.socket, pieces: Iterable[bytes], *, pause_s: float = 0.0) -> bool:
    """Whether the other side closes the connection while it is told these pieces."""
    try:
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(pause_s)
    except OSError:
        return True
    return False


@contextlib.contextmanager
def patient(app: Any, patience: Patience) -> Iterator[str]:
    """An app behind connections with this patience."""
    config = uvicorn.Config(
        app,
        port=0,
        http=functools.partial(Connection, patience=patience),  # type: ignore[arg-type]
        ws="none",
        log_level="critical",
        lifespan="off",
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    eventually(lambda: server.started)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers with as many bytes as the path asks for, without reading a body."""
    size = int(scope["path"][1:])
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % size)]})
    for _ in range(size // 65536):
        await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
    await send({"type": "http.response.body", "body": b"x" * (size % 65536)})


@pytest.mark.parametrize(
    "said", [b"", b"GE", b"GET /5 HTTP/1.1\r\nhost: x\r\nx-a:"], ids=["nothing", "word", "head"]
)
def test_a_head_that_does_not_come_closes_the_connection(said: bytes) -> None:
    with patient(echo, Patience(connections=10, head_s=0.3)) as url, connect(url) as connection:
        connection.sendall(said)
        assert ended(connection) == b""


def test_a_head_that_comes_drop_by_drop_closes_the_connection() -> None:
    with patient(echo, Patience(connections=10, head_s=0.3)) as url, connect(url) as connection:
        connection.sendall(b"GET /5 HTTP/1.1\r\nhost: x\r\n")
        assert cut_off(connection, (b"x-%d: 1\r\n" % number for number in range(200)), pause_s=0.05)


@pytest.mark.parametrize("drops", [b"\r\n", b"G"])
def test_a_second_head_has_no_more_time_than_the_first_one(drops: bytes) -> None:
    with patient(echo, Patience(connections=10, head_s=0.3, idle_s=60)) as url, connect(url) as connection:
        connection.sendall(b"GET /5 HTTP/1.1\r\nhost: x\r\n\r\n")
        while not connection.recv(65536).endswith(b"xxxxx"):
            pass
        connection.sendall(drops)
        assert ended(connection) == b""


def test_a_client_that_thinks_between_two_requests_is_not_hurried() -> None:
    with patient(echo, Patience(connections=10, head_s=0.2)) as url, httpx.Client(base_url=url) as client:
        for _ in range(3):
            assert client.get("/5").text == "xxxxx"
            assert len(client._transport._pool.connections) == 1  # type: ignore[attr-defined]
            time.sleep(0.5)


def test_an_answer_that_takes_longer_than_a_head_may_is_not_cut() -> None:
    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(8):
            await asyncio.sleep(0.1)
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    with patient(slow, Patience(connections=10, head_s=0.2, reader_s=0.2)) as url:
        assert httpx.post(url, content=b"y" * 100_000).text == "x" * 8


def test_a_head_without_end_closes_the_connection() -> None:
    with patient(echo, Patience(connections=10, head_s=3600)) as url, connect(url) as connection:
        connection.sendall(b"GET /5 HTTP/1.1\r\nhost: x\r\n")
        assert cut_off(connection, (b"x-%d: %s\r\n" % (number, b"y" * 1000) for number in range(100_000)))


def test_a_client_that_reads_nothing_is_let_go() -> None:
    with (
        patient(echo, Patience(connections=10, reader_s=0.5)) as url,
        connect(url, buffer=4096) as connection,
    ):
        whole = 256 * 1024 * 1024
        connection.sendall(b"GET /%d HTTP/1.1\r\nhost: x\r\n\r\n" % whole)
        time.sleep(2)
        assert len(ended(connection)) < whole / 2


def test_what_was_refused_unread_is_heard_and_does_not_go_on_forever() -> None:
    with patient(echo, Patience(connections=10, head_s=0.2, reader_s=3)) as url, connect(url) as connection:
        connection.sendall(b"POST /5 HTTP/1.1\r\nhost: x\r\ncontent-length: 100000000\r\n\r\n")
        assert not cut_off(connection, [b"y" * 10_000] * 30, pause_s=0.01)
        assert connection.recv(65536).endswith(b"xxxxx"), "a long head would have been cut by now"
        assert cut_off(connection, [b"y"] * 400, pause_s=0.05)


def test_after_a_body_that_nobody_read_the_connection_serves_on() -> None:
    """However much of the body's end comes at once, it is no head of 64 KiB."""
    size = 3_000_000
    head = b"POST /5 HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % size
    with patient(echo, Patience(connections=10)) as url:
        for _ in range(20):
            with connect(url) as connection:
                for _ in range(3):
                    connection.sendall(head + b"y" * size)
                    assert connection.recv(65536).endswith(b"xxxxx")


def test_after_a_body_that_nobody_read_a_client_may_think() -> None:
    with patient(echo, Patience(connections=10, head_s=0.2, reader_s=0.2)) as url, connect(url) as connection:
        connection.sendall(b"POST /5 HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n")
        assert connection.recv(65536).endswith(b"xxxxx")
        connection.sendall(b"y")
        time.sleep(0.05)
        connection.sendall(b"y")
        time.sleep(0.6)
        connection.sendall(b"GET /5 HTTP/1.1\r\nhost: x\r\n\r\n")
        assert connection.recv(65536).endswith(b"xxxxx")


async def count(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the length of the body, once that is there."""
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size += len(message["body"])
        more = message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"%d" % size})


def test_a_body_that_comes_drop_by_drop_closes_the_connection() -> None:
    with patient(count, Patience(connections=10, body_s=0.3)) as url, connect(url) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100000000\r\n\r\n")
        assert cut_off(connection, [b"y"] * 400, pause_s=0.05)


def test_a_large_body_has_the_time_that_it_takes() -> None:
    with patient(count, Patience(connections=10, body_s=0.0, head_s=0.2)) as url, connect(url) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 8000000\r\n\r\n")
        assert not cut_off(connection, [b"y" * 400_000] * 20, pause_s=0.05)
        assert connection.recv(65536).endswith(b"8000000\r\n0\r\n\r\n")


def test_one_connection_too_many_is_told_so_and_the_next_ones_are_not_hurt() -> None:
    with patient(echo, Patience(connections=2)) as url, connect(url) as one, connect(url) as two:
        for connection in (one, two):
            connection.sendall(b"GET /5 HTTP/1.1\r\nhost: x\r\n\r\n")
            assert b" 200 " in connection.recv(65536)
        refused = httpx.get(f"{url}/5")
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert refused.headers["connection"] == "close"
        assert refused.json()["error"]["message"] == "Too many connections are open. Please try again."
        one.close()
        eventually(lambda: httpx.get(f"{url}/5").status_code == 200)
        two.sendall(b"GET /5 HTTP/1.1\r\nhost: x\r\n\r\n")
        assert b" 200 " in two.recv(65536)


def test_far_too_many_connections_are_closed_unheard() -> None:
    with patient(echo, Patience(connections=1)) as url, contextlib.ExitStack() as stack:
        opened = [stack.enter_context(connect(url)) for _ in range(80)]
        closed = [connection for connection in opened[70:] if ended(connection) == b""]
        assert len(closed) == 10
        opened[0].sendall(b"GET /5 HTTP/1.1\r\nhost: x\r\n\r\n")
        assert b" 200 " in opened[0].recv(65536)


@pytest.mark.parametrize("head", [b"content-length: 3000000", b"transfer-encoding: chunked"])
def test_an_oversize_body_is_refused_and_its_client_hears_it(tmp_path: Path, head: bytes) -> None:
    with running(tmp_path, gateway={"max_body_mb": 1}) as world, connect(world.url) as connection:
        connection.sendall(HEAD + head + b"\r\n\r\n")
        piece = b"y" * 100_000
        framed = b"%x\r\n%s\r\n" % (len(piece), piece)
        for _ in range(30):
            connection.sendall(framed if b"chunked" in head else piece)
        if b"chunked" in head:
            connection.sendall(b"0\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")
        assert world.upstream.paths == []
        assert world.ask("ann").status_code == 200


def test_a_body_that_stops_is_given_up(tmp_path: Path) -> None:
    with running(tmp_path, gateway={"body_timeout_s": 0.3}) as world, connect(world.url) as connection:
        connection.sendall(HEAD + b"content-length: 100\r\n\r\n{")
        assert connection.recv(65536).startswith(b"HTTP/1.1 408 ")
        assert world.upstream.paths == []


@pytest.mark.e2e
def test_ten_thousand_idle_connections_cost_users_nothing(tmp_path: Path, behind: str) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    wanted = min(10_000, hard - 3000)
    assert wanted >= 3000, "this machine allows too few open files to try"
    try:
        with (
            process(tmp_path, behind, arguments=("--header-timeout", "120")) as gateway,
            contextlib.ExitStack() as stack,
            httpx.Client(base_url=gateway.url, timeout=30) as user,
        ):
            idle = []
            for number in range(wanted):
                idle.append(stack.enter_context(connect(gateway.url)))
                if number % 500 == 0:
                    assert user.post("/v1/completions", json={"model": NAME}).status_code == 200
            assert [user.post("/v1/completions", json={"model": NAME}).status_code for _ in range(50)] == [
                200
            ] * 50
            with selectors.DefaultSelector() as selector:
                for connection in idle:
                    selector.register(connection, selectors.EVENT_READ)
                assert selector.select(timeout=0) == [], "all of them are still there"
            for connection in (idle[0], idle[-1]):
                connection.sendall(REQUEST)
                assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
