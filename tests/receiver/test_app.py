"""The receiver over real sockets: who may send, how much, how slowly, and what is answered."""

from __future__ import annotations

import base64
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx
import pytest

from rollout.errors import Unreadable
from rollout.receiver.app import Done, Receiver
from tests.support.servers import served

SECRET = "a-secret-of-tests-0123456789"
LARGEST = 4096


def basic(password: str, user: str = "alertmanager") -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


class Acting:
    """Remembers what it was given, and does as it is told."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.does: Callable[[bytes], Done] = lambda _: Done(status=200, page={"alerts": []})

    def __call__(self, content: bytes) -> Done:
        self.bodies.append(content)
        return self.does(content)


@pytest.fixture
def acting() -> Acting:
    return Acting()


@contextmanager
def receiver(acting: Acting, token: str | None = SECRET, body_s: float = 15.0) -> Iterator[str]:
    with served(Receiver(acting, token, largest=LARGEST, body_s=body_s).application()) as url:
        yield url


@pytest.fixture
def url(acting: Acting) -> Iterator[str]:
    with receiver(acting) as url:
        yield url


def post(url: str, content: bytes = b"{}", authorization: str | None = f"Bearer {SECRET}") -> httpx.Response:
    headers = {} if authorization is None else {"authorization": authorization}
    return httpx.post(f"{url}/alerts", content=content, headers=headers, timeout=60)


@pytest.mark.parametrize(
    "authorization", [f"Bearer {SECRET}", f"bearer {SECRET}", basic(SECRET), basic(SECRET, "")]
)
def test_who_knows_the_secret_may_send(acting: Acting, url: str, authorization: str) -> None:
    answer = post(url, b"[1]", authorization)
    assert (answer.status_code, answer.json(), acting.bodies) == (200, {"alerts": []}, [b"[1]"])


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        f"Bearer {SECRET}x",
        f"Bearer {SECRET[:-1]}",
        SECRET,
        f"Digest {SECRET}",
        basic(""),
        basic("wrong"),
        "Basic !!!",
        "Basic " + base64.b64encode(SECRET.encode()).decode(),
        "Bearer " + "x" * 4000,
    ],
)
def test_who_does_not_is_refused_before_anything_is_read(
    acting: Acting, url: str, caplog: pytest.LogCaptureFixture, authorization: str | None
) -> None:
    with caplog.at_level(logging.INFO):
        answer = post(url, b"x" * (LARGEST * 10), authorization)
    assert (answer.status_code, acting.bodies) == (401, [])
    assert answer.headers["www-authenticate"] == "Bearer"
    assert SECRET not in answer.text + caplog.text
    assert "refused 401 from 127.0.0.1" in caplog.text


def test_two_headers_are_no_secret(acting: Acting, url: str) -> None:
    headers = [("authorization", f"Bearer {SECRET}"), ("authorization", "Bearer x")]
    assert httpx.post(f"{url}/alerts", content=b"{}", headers=headers).status_code == 401


def test_where_certificates_say_who_it_is_no_secret_is_asked_for(acting: Acting) -> None:
    with receiver(acting, token=None) as url:
        assert post(url, authorization=None).status_code == 200


def test_a_huge_body_is_refused_by_what_it_says_and_by_what_it_is(acting: Acting, url: str) -> None:
    assert post(url, b"x" * (LARGEST + 1)).status_code == 413

    def endless() -> Iterator[bytes]:
        for _ in range(10_000):
            yield b"x" * 1024

    try:
        answer = httpx.post(f"{url}/alerts", content=endless(), headers={"authorization": f"Bearer {SECRET}"})
    except httpx.HTTPError:
        pass  # it was still sending when it was refused
    else:
        assert answer.status_code == 413
    assert acting.bodies == []
    assert post(url, b"x" * LARGEST).status_code == 200


def test_a_body_that_never_ends_is_given_up(acting: Acting) -> None:
    with receiver(acting, body_s=0.2) as url:
        place = urlsplit(url)
        with socket.create_connection((place.hostname or "", place.port or 0)) as client:
            head = f"POST /alerts HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {SECRET}\r\ncontent-length: 100\r\n\r\n"
            client.sendall(head.encode() + b"{")
            client.settimeout(30)
            assert b"408 Request Timeout" in client.recv(4096)
    assert acting.bodies == []


def test_who_leaves_in_the_middle_of_a_body_leaves_nothing(acting: Acting, url: str) -> None:
    place = urlsplit(url)
    with socket.create_connection((place.hostname or "", place.port or 0)) as client:
        head = f"POST /alerts HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {SECRET}\r\ncontent-length: 100\r\n\r\n"
        client.sendall(head.encode() + b"{")
    deadline = time.monotonic() + 30
    while httpx.get(f"{url}/healthz").json() != {"ok": True, "under_way": 0}:
        assert time.monotonic() < deadline
    assert acting.bodies == []


def test_what_is_no_body_is_the_senders_fault(
    acting: Acting, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_: bytes) -> Done:
        raise Unreadable("this is no body: alerts\r\nforged line")

    acting.does = refuse
    with caplog.at_level(logging.INFO):
        answer = post(url)
    assert answer.status_code == 400
    assert "this is no body" in answer.json()["error"]
    assert "\nforged line" not in caplog.text


def test_a_bug_is_ours_and_its_words_stay_here(acting: Acting, url: str) -> None:
    def fail(_: bytes) -> Done:
        raise ZeroDivisionError("s3cr3t")

    acting.does = fail
    answer = post(url)
    assert answer.status_code == 500
    assert "s3cr3t" not in answer.text
    assert httpx.get(f"{url}/healthz").json() == {"ok": True, "under_way": 0}


@pytest.mark.parametrize("status", [200, 500, 503])
def test_the_answer_is_what_became_of_it_and_each_line_is_logged(
    acting: Acting, url: str, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    acting.does = lambda _: Done(status=status, page={"n": 1}, lines=("bot: taken back", "x\x1b[2J\ny"))
    with caplog.at_level(logging.INFO):
        answer = post(url)
    assert (answer.status_code, answer.json()) == (status, {"n": 1})
    assert "bot: taken back" in caplog.text
    assert "\x1b" not in caplog.text
    assert f"answered {status} to 127.0.0.1" in caplog.text


def test_more_than_can_be_done_at_once_is_to_be_sent_again(acting: Acting, url: str) -> None:
    hold, begun = threading.Event(), threading.Semaphore(0)

    def wait(_: bytes) -> Done:
        begun.release()
        assert hold.wait(60)
        return Done(status=200, page={})

    acting.does = wait
    statuses: list[int] = []
    threads = [threading.Thread(target=lambda: statuses.append(post(url).status_code)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert begun.acquire(timeout=60)
    assert httpx.get(f"{url}/healthz").json()["under_way"] == 16
    assert post(url).status_code == 503
    hold.set()
    for thread in threads:
        thread.join(60)
    assert statuses == [200] * 16


def test_there_is_nothing_else(url: str) -> None:
    assert httpx.get(f"{url}/alerts").status_code == 405
    assert httpx.post(f"{url}/healthz").status_code == 405
    assert httpx.get(f"{url}/docs").status_code == 404
    assert json.loads(httpx.get(f"{url}/healthz").text)["ok"] is True
