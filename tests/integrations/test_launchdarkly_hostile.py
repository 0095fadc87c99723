"""A LaunchDarkly that misbehaves: what it says is bounded in time, and moves no flag but the one that was meant."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from rollout.core.environment import LaunchDarklyFlags
from rollout.errors import WorldChanged
from rollout.integrations.launchdarkly import LaunchDarklyStore, Token
from tests.support.patience import Waits

KEY = "lora-support-bot"
LIMITS = {"x-ratelimit-reset": "99999999999999", "x-ratelimit-auth-token-reset": "99999999999999"}

Reply = tuple[int, dict[str, str], object]


class Scripted:
    """A server that answers each request by `answer`; `asked` are methods, paths and tokens."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self.answer: Callable[[str, str, str], Reply] = lambda *_: (200, {}, shown())
        outer = self

        class Own(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("content-length") or 0))
                request = self.command, self.path, self.headers["authorization"]
                outer.asked.append(request)
                status, headers, body = outer.answer(*request)
                content = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                for name, value in {**headers, "content-length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_PATCH = do_POST = do_DELETE = do_GET  # noqa: N815

            def log_message(self, *args: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Own)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def methods(self) -> list[str]:
        return [method for method, _, _ in self.asked]

    def store(self, waits: Waits, rollback: str | None = None) -> LaunchDarklyStore:
        url = f"http://127.0.0.1:{self.server.server_port}"
        flags = LaunchDarklyFlags(kind="launchdarkly", project="default", environment="production", api=url)
        token = Token(rollback, "LD_ROLLBACK_TOKEN") if rollback else None
        return LaunchDarklyStore(
            flags, token=Token("api-1", "LD_ACCESS_TOKEN"), rollback_token=token, pace=waits.pace
        )


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    it = Scripted()
    yield it
    it.server.shutdown()
    it.server.server_close()


def shown(
    key: str = KEY, *, on: bool = True, values: tuple[str, ...] = ("stable", "candidate")
) -> dict[str, Any]:
    here = {
        "on": on,
        "version": 7,
        "salt": "s",
        "offVariation": 0,
        "fallthrough": {"variation": 1 if on else 0},
    }
    variations = [{"_id": f"id-{value}", "value": value} for value in values]
    return {"key": key, "variations": variations, "environments": {"production": here}}


@pytest.mark.parametrize("status", [500, 502, 504])
def test_limits_in_the_answer_of_a_failure_are_no_reason_to_wait(scripted: Scripted, status: int) -> None:
    waits = Waits()
    scripted.answer = lambda *_: (
        (status, {**LIMITS, "retry-after": "600"}, {}) if len(scripted.asked) == 1 else (200, LIMITS, shown())
    )
    assert scripted.store(waits).read(KEY) is not None
    assert waits.seconds[0] < 1


def test_a_503_may_say_when_to_come_again_and_its_limits_say_nothing(scripted: Scripted) -> None:
    waits = Waits()
    scripted.answer = lambda *_: (
        (503, {**LIMITS, "retry-after": "3"}, {}) if len(scripted.asked) == 1 else (200, {}, shown())
    )
    assert scripted.store(waits).read(KEY) is not None
    assert waits.seconds[0] == pytest.approx(3.2)


def test_an_answer_about_another_flag_changes_nothing(scripted: Scripted) -> None:
    scripted.answer = lambda *_: (200, {}, shown("lora-other"))
    store = scripted.store(Waits())
    with pytest.raises(WorldChanged, match=f"flag {KEY} .* asked for, and flag 'lora-other' was shown"):
        store.read(KEY)
    with pytest.raises(WorldChanged, match="lora-other"):
        store.take_back(KEY, by="bob", comment="")
    assert set(scripted.methods()) == {"GET"}
