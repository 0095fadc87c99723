"""The token is in no representation, message, traceback or log, even if LaunchDarkly sends it back."""

from __future__ import annotations

import json
import logging
import threading
import traceback
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from rollout.core.environment import LaunchDarklyFlags
from rollout.errors import FlagDenied, FlagUnavailable, RolloutError
from rollout.integrations.launchdarkly import LaunchDarklyStore, Token
from tests.support.launchdarkly import speaking
from tests.support.patience import Waits

KEY, TOKEN = "lora-support-bot", "api-99999999-secret"


class Hostile(BaseHTTPRequestHandler):
    """Answers what the test says, with the token of whoever asked in it."""

    status: ClassVar[int] = 403
    body: ClassVar[bytes | None] = None
    headers_sent: ClassVar[dict[str, str]] = {}

    def do_GET(self) -> None:
        said = {"code": "forbidden", "message": f"go away {self.headers['authorization']}\x1b[31m\nBye"}
        body = self.body if self.body is not None else json.dumps(said).encode()
        self.send_response(self.status)
        for name, value in self.headers_sent.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        return


@pytest.fixture
def hostile() -> Iterator[tuple[type[Hostile], str]]:
    class Own(Hostile):
        pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Own)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Own, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def store_at(url: str, token: str | None = TOKEN) -> LaunchDarklyStore:
    settings = LaunchDarklyFlags(kind="launchdarkly", project="default", environment="production", api=url)
    return LaunchDarklyStore(settings, token=Token(token, "LD_ACCESS_TOKEN"), pace=Waits().pace)


def test_a_token_that_is_sent_back_is_not_shown(
    hostile: tuple[type[Hostile], str], caplog: pytest.LogCaptureFixture
) -> None:
    store = store_at(hostile[1])
    with caplog.at_level(logging.DEBUG), pytest.raises(FlagDenied, match="go away") as caught:
        store.read(KEY)
    shown = "".join(traceback.format_exception(caught.value)) + caplog.text + repr(store) + str(vars(store))
    assert TOKEN not in shown
    assert "\x1b" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "LD_ACCESS_TOKEN" in str(caught.value)


@pytest.mark.parametrize("fault", ["401", "429-ip", "503", "timeout-before"])
def test_no_failure_shows_the_token(tmp_path: Path, caplog: pytest.LogCaptureFixture, fault: str) -> None:
    with speaking(tmp_path) as speaker, caplog.at_level(logging.DEBUG):
        store = LaunchDarklyStore(
            speaker.flags, token=Token(speaker.token, "LD_ACCESS_TOKEN"), pace=Waits(answer_s=0.5).pace
        )
        store.create(KEY, by="ann")
        speaker.fault(fault, on="any", seconds=60)
        with pytest.raises(RolloutError) as caught:
            store.read(KEY)
        assert store.checks(KEY)
        shown = "".join(traceback.format_exception(caught.value)) + caplog.text + str(store.checks(KEY))
        assert speaker.token not in shown


def test_a_missing_token_is_told_of_when_it_is_needed() -> None:
    store = store_at("http://127.0.0.1:9", token=None)
    with pytest.raises(FlagDenied, match="LD_ACCESS_TOKEN is not set"):
        store.read(KEY)
    (only,) = store.checks(KEY)
    assert (only.id, only.standing) == ("token", "blocked")


def test_an_sdk_key_is_recognized_before_it_is_sent() -> None:
    with pytest.raises(FlagDenied, match="SDK or mobile key") as caught:
        store_at("http://127.0.0.1:9", token="sdk-123").read(KEY)
    assert "sdk-123" not in str(caught.value)


def test_a_redirect_is_not_followed(hostile: tuple[type[Hostile], str]) -> None:
    hostile[0].status, hostile[0].headers_sent = 302, {"location": "http://127.0.0.1:9/steal"}
    with pytest.raises(FlagDenied, match="answered 302: it is somewhere else"):
        store_at(hostile[1]).read(KEY)


def test_an_answer_without_end_is_cut_off(hostile: tuple[type[Hostile], str]) -> None:
    hostile[0].status, hostile[0].body = 200, b" " * (5 * 2**20)
    with pytest.raises(FlagUnavailable, match="ReadError"):
        store_at(hostile[1]).read(KEY)


@pytest.mark.parametrize("body", [b"<html>", b"[", b"[" * 200_000, b"\xff\xfe"])
def test_what_is_no_json_is_unavailable(hostile: tuple[type[Hostile], str], body: bytes) -> None:
    hostile[0].status, hostile[0].body = 200, body
    with pytest.raises(FlagUnavailable, match="no JSON"):
        store_at(hostile[1]).read(KEY)


@pytest.mark.parametrize("body", [b"[]", b"null", b"{}", b'{"environments": {"production": 7}}', b"12"])
def test_json_that_is_no_flag_is_no_dial(hostile: tuple[type[Hostile], str], body: bytes) -> None:
    hostile[0].status, hostile[0].body = 200, body
    with pytest.raises(RolloutError, match=f"flag {KEY} at LaunchDarkly"):
        store_at(hostile[1]).read(KEY)
