"""Recorded questions, asked again of both adapters at the times at which they once came: an open loop.

A question is sent at its time, whether or not those before it were answered: a generator that waits for answers asks
less the slower they come, and hides what its users would feel. Where too many are under way a question is not sent and
counted, never put off. How late this machine itself is, is measured.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections import Counter
from collections.abc import Callable, Sequence

from rollout.core.flag import Slot
from rollout.core.metric import NotCopied
from rollout.core.shadow.echo import Echoes, Pace
from rollout.core.shadow.question import Question
from rollout.gateway.copying import SHADOW, no_departure, to_nobody, why_no_copy
from rollout.gateway.openai import App, Headers, InferenceRequest, RefusedError, for_upstream
from rollout.gateway.passage import Choice, Passage
from rollout.gateway.replayed import Answered, Book, pair_of
from rollout.gateway.routes import LiveRoute

_JSON: Headers = [(b"content-type", b"application/json")]
Progress = Callable[[str, int, int], None]


class Replay:
    """Asks `app` for the stable adapter's answers and the candidate's, over `route`; to be run once.

    The order of the two is random for each question, so that none is always the second in a queue.
    """

    def __init__(self, app: App, route: LiveRoute, *, headers: Headers, pace: Pace) -> None:
        self._app = app
        self._route = route
        self._headers = headers
        self._pace = pace
        self._chance = random.Random(pace.seed)  # noqa: S311 - an order, not a secret
        self._answered: set[str] = set()
        self._salt = secrets.token_bytes(16)
        self._late_ms: list[float] = []
        self._found: list[tuple[Question, Answered, Answered]] = []
        self._skipped: Counter[NotCopied] = Counter()
        self._not_sent = self._unfinished = 0

    async def run(
        self, due: Sequence[tuple[float, Question]], stop: asyncio.Event, progress: Progress
    ) -> Echoes:
        """Ask all of them, each at its seconds after the first, until `stop` is set: then the rest is given up."""
        begun = time.perf_counter()
        under_way: set[asyncio.Task[None]] = set()
        for number, (after, question) in enumerate(due):
            progress("replaying", number, len(due))
            at = begun + after / self._pace.speed
            if await _is_stopped(stop, at - time.perf_counter()):
                break
            if (request := self._read(question)) is None:
                continue
            if len(under_way) >= self._pace.max_in_flight:
                self._not_sent += 1
                continue
            task = asyncio.create_task(self._ask_both(question, request, at))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        await self._finish(under_way, stop)
        progress("replaying", len(due), len(due))
        return Echoes(
            pairs=[pair_of(*each) for each in self._found],
            skipped=self._skipped,
            not_sent=self._not_sent,
            unfinished=self._unfinished,
            stopped=stop.is_set(),
            seconds=time.perf_counter() - begun,
            late_ms=self._late_ms,
        )

    def _read(self, question: Question) -> InferenceRequest | None:
        request, why = _understood(question)
        if why is not None:
            self._skipped[why] += 1
        return request

    async def _finish(self, under_way: set[asyncio.Task[None]], stop: asyncio.Event) -> None:
        """Wait for what is under way, which has its own limits of time, or until it is to be given up."""
        stopped = asyncio.ensure_future(stop.wait())
        while under_way and not stop.is_set():
            await asyncio.wait({stopped, *under_way}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        self._unfinished = len(under_way)
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)

    async def _ask_both(self, question: Question, request: InferenceRequest, at: float) -> None:
        slots = [Slot.STABLE, Slot.CANDIDATE]
        self._chance.shuffle(slots)
        answers = await asyncio.gather(*(self._ask(slot, question, request, at) for slot in slots))
        stable, candidate = (answers[slots.index(slot)] for slot in (Slot.STABLE, Slot.CANDIDATE))
        self._found.append((question, stable, candidate))

    async def _ask(self, slot: Slot, question: Question, request: InferenceRequest, at: float) -> Answered:
        served = self._served(slot)
        body = self._body(request, served)
        headers = [*for_upstream([*self._headers, *_JSON], len(body)), (SHADOW, b"1")]
        scope = {"type": "http", "method": "POST", "path": question.path, "query_string": b""}
        book = Book(self._answered, self._salt)
        self._late_ms.append((time.perf_counter() - at) * 1000)
        passage = Passage(
            self._choice(slot, served, request),
            request,
            book,
            pair=question.id if slot is Slot.CANDIDATE else None,
        )
        try:
            async with asyncio.timeout(self._pace.timeout_s):
                await passage.run(self._app, {**scope, "headers": headers}, body, no_departure, to_nobody)
        except TimeoutError:
            passage.timed_out()
        except Exception:  # noqa: S110 - what went wrong stands in the passage
            pass
        passage.record()
        assert book.answer is not None
        return book.answer

    def _served(self, slot: Slot) -> str:
        route = self._route.route
        candidate = route.candidate
        assert candidate is not None
        return route.stable if slot is Slot.STABLE else candidate

    def _body(self, request: InferenceRequest, served: str) -> bytes:
        if not self._pace.stream:
            return request.as_copy(served)
        return request.as_copy(served, stream=True, stream_options={"include_usage": True})

    def _choice(self, slot: Slot, served: str, request: InferenceRequest) -> Choice:
        return Choice(
            live=self._route,
            served=served,
            slot=slot,
            flag_version=None,
            reason="REPLAY",
            key=request.text("user"),
        )


def why_skipped(question: Question) -> NotCopied | None:
    """Why a question will not be asked again, if it will not."""
    return _understood(question)[1]


def _understood(question: Question) -> tuple[InferenceRequest | None, NotCopied | None]:
    try:
        request = InferenceRequest.parse(_JSON, question.body)
    except RefusedError:
        return None, NotCopied.UNREADABLE
    why = why_no_copy(request)
    return (request if why is None else None), why


async def _is_stopped(stop: asyncio.Event, seconds: float) -> bool:
    """Wait for a time that may be past already; whether it was broken off."""
    try:
        async with asyncio.timeout(max(0.0, seconds)):
            return await stop.wait()
    except TimeoutError:
        return stop.is_set()
