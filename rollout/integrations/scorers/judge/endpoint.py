"""The way to the judge: chat completions over HTTP, with patience for what passes and none for what does not."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import httpx

from rollout.core.panel import Judge
from rollout.tls import trusted

ATTEMPTS = 4
BACKOFF_S = 0.5
_LONGEST_WAIT_S = 30.0
_MOST_BYTES = 1 << 20
_PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
# As many questions given up in a row: whoever comes next is not kept waiting for the same.
_GIVEN_UP = 3


class NoReply(Exception):
    """The judge did not reply; the message says why and carries nothing that it sent."""


class Endpoint:
    """One judge's endpoint, for use by several threads. A context manager."""

    def __init__(self, setting: Judge, token: str | None, *, backoff_s: float = BACKOFF_S) -> None:
        self._setting = setting
        self._backoff_s = backoff_s
        self._failed_in_a_row = 0
        self._dead: str | None = None
        self._lock = threading.Lock()
        self._client = httpx.Client(
            verify=trusted(),
            timeout=setting.timeout_s,
            headers={} if token is None else {"Authorization": f"Bearer {token}"},
            limits=httpx.Limits(max_connections=setting.concurrency),
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def ask(self, messages: Sequence[dict[str, str]], *, seed: int) -> str:
        """The reply's text, at temperature 0. Raises NoReply."""
        if self._dead is not None:
            raise NoReply(self._dead)
        try:
            reply = self._patiently(self._body(messages, seed))
        except NoReply as error:
            self._count(str(error))
            raise
        with self._lock:
            self._failed_in_a_row = 0
        return reply

    def _count(self, why: str) -> None:
        with self._lock:
            self._failed_in_a_row += 1
            if self._failed_in_a_row >= _GIVEN_UP:
                self._dead = why

    def _body(self, messages: Sequence[dict[str, str]], seed: int) -> bytes:
        body = {
            "model": self._setting.model,
            "messages": list(messages),
            "temperature": 0,
            "seed": seed,
            "max_tokens": self._setting.max_tokens,
        }
        return json.dumps(body).encode()

    def _patiently(self, body: bytes) -> str:
        for attempt in range(ATTEMPTS):
            last = attempt == ATTEMPTS - 1
            try:
                status, wait_s, content = self._once(body)
            except httpx.RequestError as error:
                if last:
                    raise NoReply(f"the judge cannot be reached ({type(error).__name__})") from None
                self._wait(attempt, None)
                continue
            if status == httpx.codes.OK:
                return _text(content)
            if last or status not in _PASSING:
                raise NoReply(f"the judge answers with status {status}")
            self._wait(attempt, wait_s)
        raise AssertionError("the last attempt returns or raises")

    def _once(self, body: bytes) -> tuple[int, float | None, bytes]:
        url = f"{self._setting.url}/chat/completions"
        with self._client.stream(
            "POST", url, content=body, headers={"Content-Type": "application/json"}
        ) as answer:
            content = b""
            for part in answer.iter_bytes():
                content += part
                if len(content) > _MOST_BYTES:
                    raise NoReply("the judge says too much")
            return answer.status_code, _retry_after(answer), content

    def _wait(self, attempt: int, asked_s: float | None) -> None:
        own = self._backoff_s * 2**attempt
        time.sleep(min(max(own, asked_s or 0.0), _LONGEST_WAIT_S))


def _retry_after(answer: httpx.Response) -> float | None:
    """The seconds that the server asks for; a date is not read."""
    said = answer.headers.get("Retry-After", "")
    return float(said) if said.isascii() and said.isdigit() and len(said) < 6 else None


def _text(content: bytes) -> str:
    try:
        text = json.loads(content)["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        text = None
    if not isinstance(text, str):
        raise NoReply("the judge's answer is no chat completion")
    return text
