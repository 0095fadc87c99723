"""Simulated users: a steady load on the gateway, and a tally of what became of every single request."""

from __future__ import annotations

import asyncio
import json
import random
import threading
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final

from rollout.demo.model.corpus import live_tickets

USERS: Final = 300
_WORKERS = 10
_PAUSE_S = 0.1
_STREAMED = 0.2
_TIMEOUT_S = 30.0


@dataclass(slots=True)
class Tally:
    """What became of the users' requests."""

    sent: int = 0
    answered: int = 0
    streamed: int = 0
    failures: list[str] = field(default_factory=list)


class Crowd:
    """Some hundred users in a thread of their own, from `with` to the end of the block.

    `transcript_share` may be set at any time: the part of tickets that are voice transcripts. `pause_s` is how long each of
    ten workers waits between an answer and its next question.
    """

    def __init__(self, url: str, name: str, seed: int, *, pause_s: float = _PAUSE_S) -> None:
        self._url = url
        self._name = name
        self._seed = seed
        self._pause_s = pause_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="crowd", daemon=True)
        self.transcript_share = 0.0
        self.tally = Tally()

    def __enter__(self) -> Crowd:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Send no more, and wait for the last answers."""
        self._stopping.set()
        self._thread.join(_TIMEOUT_S + 5)

    async def _run(self) -> None:
        import httpx

        limits = httpx.Limits(max_connections=_WORKERS, max_keepalive_connections=_WORKERS)
        async with httpx.AsyncClient(
            base_url=self._url, timeout=_TIMEOUT_S, limits=limits, trust_env=False
        ) as client:
            await asyncio.gather(*(self._work(client, worker) for worker in range(_WORKERS)))

    async def _work(self, client: Any, worker: int) -> None:
        dice = random.Random(self._seed * 1000 + worker)  # noqa: S311 - simulated users
        plain = live_tickets(self._seed + worker, 0.0)
        spoken = live_tickets(self._seed + worker, 1.0)
        while not self._stopping.is_set():
            ticket = next(spoken if dice.random() < self.transcript_share else plain)
            user = f"user-{dice.randrange(USERS)}"
            await self._ask(client, user, ticket.text, stream=dice.random() < _STREAMED)
            await asyncio.sleep(self._pause_s * (0.5 + dice.random()))

    async def _ask(self, client: Any, user: str, text: str, *, stream: bool) -> None:
        import httpx

        body = {
            "model": self._name,
            "messages": [{"role": "user", "content": text}],
            "max_tokens": 96,
            "temperature": 0,
            "stream": stream,
        }
        self.tally.sent += 1
        try:
            answer = await client.post("/v1/chat/completions", json=body, headers={"x-user-id": user})
        except httpx.HTTPError as error:
            self.tally.failures.append(f"{type(error).__name__}: {error}")
            return
        complaint = _complaint(answer.status_code, answer.text, stream=stream)
        if complaint:
            self.tally.failures.append(complaint)
            return
        self.tally.answered += 1
        self.tally.streamed += stream


def _complaint(status: int, text: str, *, stream: bool) -> str | None:
    """Why an answer is not one, or None."""
    if status != 200:
        return f"status {status}: {text[:200]}"
    if stream:
        return None if text.rstrip().endswith("data: [DONE]") else "a stream was cut off"
    try:
        choices = json.loads(text)["choices"]
    except (ValueError, KeyError, TypeError):
        return "an answer that is not a completion"
    return None if choices else "an answer without a choice"
