"""A stream of flags that is open at one end only: nothing fails, nothing comes, and the routes move on."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from rollout.core.plan import Share
from rollout.integrations.evaluator import FlagStreamReader
from rollout.integrations.flagfile import FlagFile
from rollout.integrations.routesfile import RoutesFile
from rollout.wiring import gateway_app
from tests.support import gateway
from tests.support.gateway import CANDIDATE, FLAG, NAME, STABLE, environment, eventually, routes
from tests.support.upstream import Behaviour, FakeUpstream, serving


class Stream:
    """LaunchDarkly's streaming endpoint on a socket: one `put`, heartbeats while `alive`, and never a farewell."""

    def __init__(self, flags: bytes) -> None:
        self.alive = threading.Event()
        self.alive.set()
        self.asked: list[bytes] = []
        self._flags = flags
        self._ended = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection:
            self.asked.append(connection.recv(65536))
            connection.sendall(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
            )
            document = json.loads(self._flags)
            data = {"path": "/", "data": {"flags": document["flags"], "segments": {}}}
            connection.sendall(_chunk(b"event: put\ndata: " + json.dumps(data).encode() + b"\n\n"))
            while not self._ended.wait(0.05):
                if self.alive.is_set():
                    with suppress(OSError):
                        connection.sendall(_chunk(b":\n"))

    def close(self) -> None:
        self._ended.set()
        self._socket.close()


def _chunk(content: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(content), content)


@contextmanager
def streaming(root: Path) -> Iterator[tuple[Stream, httpx.Client]]:
    """A gateway that hears its flags over a stream: the candidate has everyone."""
    flags = FlagFile(root / "flags.json")
    flags.create(FLAG, by="test")
    flags.write(FLAG, Share.FULL, turn_on=True, expect_version=None, by="test", comment="")
    stream = Stream((root / "flags.json").read_bytes())
    upstream = FakeUpstream({STABLE: Behaviour(), CANDIDATE: Behaviour()})
    RoutesFile(root / "routes.json", "test").update(lambda _: routes())
    reader = FlagStreamReader("sdk-key-of-a-test", stream_uri=stream.url)
    with (
        serving(upstream) as upstream_url,
        serving(gateway_app(environment(upstream_url), root, flags=reader)) as url,
        httpx.Client(base_url=url) as client,
    ):
        eventually(lambda: ask(client) == CANDIDATE)
        yield stream, client
    stream.close()


def ask(client: httpx.Client) -> str:
    """The adapter that answered."""
    return client.post("/v1/completions", json={"model": NAME, "prompt": "x"}).headers["x-rollout-adapter"]


def reason(root: Path, client: httpx.Client) -> str:
    """Why the last request went where it went."""
    rows = gateway.World.rows(gateway.World(root, "", client, None, None, None, None))  # type: ignore[arg-type]
    return str(rows[-1]["flag_reason"])


def test_a_fresh_candidate_is_not_exposed_by_flags_that_have_stopped_coming(tmp_path: Path) -> None:
    with streaming(tmp_path) as (stream, client):
        stream.alive.clear()
        fresh = "support-bot-1.2.0-cccccccccccc"
        RoutesFile(tmp_path / "routes.json", "test").update(
            lambda _: routes(2, candidate=fresh, min_flag_version=3)
        )
        eventually(lambda: client.get("/rollout/status").json()["routes_revision"] == 2)
        assert ask(client) == STABLE, "what version 2 of the flag dialled up was another candidate"
        assert reason(tmp_path, client) == "STALE_FLAG"


def test_flags_that_have_stopped_coming_grow_too_old_for_the_candidate(tmp_path: Path) -> None:
    with streaming(tmp_path) as (stream, client):
        RoutesFile(tmp_path / "routes.json", "test").update(lambda _: routes(2, max_flag_age_s=1.0))
        eventually(lambda: client.get("/rollout/status").json()["routes_revision"] == 2)
        assert ask(client) == CANDIDATE, "a heartbeat says that nothing has changed"
        stream.alive.clear()
        eventually(lambda: ask(client) == STABLE)
        assert reason(tmp_path, client) == "OLD_FLAG"
        assert client.get("/rollout/status").json()["flag_age_s"] > 1
        stream.alive.set()
        eventually(lambda: ask(client) == CANDIDATE)


def test_the_key_is_sent_and_shown_nowhere(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with streaming(tmp_path) as (stream, client):
        assert b"authorization: sdk-key-of-a-test" in stream.asked[0].lower()
        assert "sdk-key-of-a-test" not in client.get("/rollout/status").text + caplog.text
