"""Notices over a real socket: what is sent, what is tried again, and that the address never shows."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from rollout.core.environment import WebhookBody
from rollout.core.notice import Notice
from rollout.core.occasion import Occasion
from rollout.errors import NotifyDenied, NotifyUnavailable, RolloutError
from rollout.integrations.webhook import Webhook

SECRET = "T0-very-secret"
NOTICE = Notice(
    id="prod/support/7/taken_back",
    occasion=Occasion.TAKEN_BACK,
    name="support",
    environment="prod",
    at=datetime(2026, 3, 1, 9, tzinfo=UTC),
    actor="ann",
    headline="support-1.1.0-0123456789ab was taken back in prod by ann; support-1.0.0-ba9876543210 serves everybody",
    reason="<!channel> it makes laws up & <http://evil.example|click>",
    bad="support-1.1.0-0123456789ab",
    serving="support-1.0.0-ba9876543210",
    incident="INC-7",
)


@dataclass
class Receiver:
    """Answers with each status in turn, and remembers what it was sent."""

    statuses: list[int]
    headers: dict[str, str] = field(default_factory=dict)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    location: str = ""

    @contextmanager
    def listening(self) -> Iterator[str]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.bodies.append(json.loads(content))
                receiver.headers = {key.lower(): value for key, value in self.headers.items()}
                self.send_response(receiver.statuses.pop(0) if receiver.statuses else 200)
                if receiver.location:
                    self.send_header("Location", receiver.location)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/hooks/{SECRET}"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def webhook(url: str | None, **changes: Any) -> Webhook:
    return Webhook("oncall", url, **{"variable": "ONCALL_URL", "occasions": frozenset(Occasion), **changes})


def test_a_notice_is_json_with_an_id_that_stays_the_same() -> None:
    receiver = Receiver([200])
    with receiver.listening() as url:
        webhook(url, token="t0ken").send(NOTICE)
    (body,) = receiver.bodies
    assert body["schema"] == "adapter-rollout/notice/v1"
    assert (body["id"], body["occasion"], body["runbook"]) == (NOTICE.id, "taken_back", "rolled-back")
    assert body["at"] == "2026-03-01T09:00:00+00:00"
    assert "what to do: rollout runbook rolled-back" in body["text"]
    assert receiver.headers["idempotency-key"] == NOTICE.id
    assert receiver.headers["authorization"] == "Bearer t0ken"


def test_what_others_wrote_can_mention_nobody_at_slack() -> None:
    receiver = Receiver([200])
    with receiver.listening() as url:
        webhook(url, body=WebhookBody.SLACK).send(NOTICE)
    (body,) = receiver.bodies
    assert set(body) == {"text", "unfurl_links", "unfurl_media"}
    assert "<" not in body["text"]
    assert "&lt;!channel&gt; it makes laws up &amp;" in body["text"]


@pytest.mark.parametrize("status", [500, 503, 429, 408])
def test_who_is_busy_is_asked_again(status: int) -> None:
    receiver = Receiver([status, status, 200])
    with receiver.listening() as url:
        webhook(url).send(NOTICE)
    assert len(receiver.bodies) == 3


def test_who_stays_busy_is_given_up_and_a_retry_is_reasonable() -> None:
    receiver = Receiver([500] * 9)
    with receiver.listening() as url, pytest.raises(NotifyUnavailable, match="answered 500") as raised:
        webhook(url).send(NOTICE)
    assert len(receiver.bodies) == 3
    assert raised.value.exit_status == 4


@pytest.mark.parametrize("status", [400, 403, 404, 410])
def test_a_refusal_for_good_is_not_repeated(status: int) -> None:
    receiver = Receiver([status])
    with receiver.listening() as url, pytest.raises(NotifyDenied, match=f"answered {status}") as raised:
        webhook(url).send(NOTICE)
    assert len(receiver.bodies) == 1
    assert "ONCALL_URL" in raised.value.advice


def test_nobody_is_followed_to_another_place() -> None:
    elsewhere = Receiver([200])
    with elsewhere.listening() as other:
        receiver = Receiver([307], location=other)
        with receiver.listening() as url, pytest.raises(NotifyDenied, match="answered 307"):
            webhook(url, token="t0ken").send(NOTICE)
    assert elsewhere.bodies == []


@pytest.mark.parametrize(
    "url",
    [
        None,
        "",
        f"ftp://x/{SECRET}",
        f"http:///{SECRET}",
        f"http://[{SECRET}",
        f"http://127.0.0.1:9/{SECRET}",
        SECRET,
    ],
)
def test_the_address_shows_in_no_error(url: str | None) -> None:
    told = webhook(url)
    with pytest.raises(RolloutError) as raised:
        told.send(NOTICE)
    for shown in (str(raised.value), raised.value.advice, repr(told), repr(raised.value.__cause__)):
        assert SECRET not in shown
