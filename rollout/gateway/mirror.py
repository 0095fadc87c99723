"""Shadow copies: the candidate answers what stable was asked, and nobody waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Container

from rollout.core.environment import MirrorSettings
from rollout.core.flag import Slot
from rollout.core.metric import NotCopied
from rollout.gateway.copying import (
    SHADOW,
    body_of_copy,
    headers_of_copy,
    no_departure,
    to_nobody,
    why_no_copy,
)
from rollout.gateway.openai import MIRRORED_PATHS, App, Scope, header
from rollout.gateway.passage import Choice, Passage
from rollout.gateway.sampling import is_sampled
from rollout.gateway.telemetry import Telemetry
from rollout.gateway.tokenbudget import TokenBudget

_SUCCESS = range(200, 300)
_MOST_BYTES = 64 * 1024 * 1024
"""Of all requests whose copies wait or are under way: they stay in memory until then."""
_REMEMBERED = 1024


class Mirror:
    """Sends copies in the background, within the budgets of an environment; what finds no room is dropped and counted.

    A copy begins when the user's answer is complete, so that the two never compete for the same moment of the
    same connection. Its failures are recorded and otherwise swallowed. `held` are served adapters that get nothing.
    """

    def __init__(
        self,
        app: App,
        telemetry: Telemetry,
        settings: MirrorSettings | None = None,
        *,
        held: Container[str] = (),
    ) -> None:
        self._app = app
        self._telemetry = telemetry
        self._settings = settings or MirrorSettings()
        self._held = held
        self._free = asyncio.Semaphore(self._settings.concurrency)
        self._budget = TokenBudget(self._settings.tokens_per_minute)
        self._tasks: set[asyncio.Task[None]] = set()
        self._bytes = 0
        self._sent = 0
        self._draining = False
        self._offered: dict[str, None] = {}

    def offer(self, passage: Passage, scope: Scope) -> bool:
        """Copy a request that is over, if it should be; the answer is whether the copy will be sent.

        If the sample wanted a copy and there will be none, the passage learns why.
        """
        choice = passage.choice
        candidate = choice.live.route.candidate
        if candidate is None or not self._wanted(passage, scope):
            return False
        passage.not_copied = self._why_not(passage, candidate)
        if passage.not_copied is not None:
            self._telemetry.mirror_dropped(choice.live.name, passage.not_copied)
            return False
        copy = Choice(
            live=choice.live,
            served=candidate,
            slot=Slot.CANDIDATE,
            flag_version=choice.flag_version,
            reason="SHADOW",
            key=choice.key,
            conversation=choice.conversation,
        )
        task = asyncio.create_task(self._send(copy, passage, scope, passage.tokens))
        self._tasks.add(task)
        self._bytes += len(passage.request.body)
        task.add_done_callback(self._tasks.discard)
        return True

    def figures(self) -> dict[str, int]:
        """What copies take up now, for the status page."""
        return {
            "under_way": self._sent,
            "waiting": len(self._tasks) - self._sent,
            "tokens_of_budget": self._budget.used,
            "bytes": self._bytes,
        }

    async def close(self, *, wait_s: float = 2.0) -> None:
        """Let copies under way finish for `wait_s` seconds, then drop them unrecorded as failures; send no more."""
        self._draining = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=wait_s)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _wanted(self, passage: Passage, scope: Scope) -> bool:
        # Failed answers of stable are copied too: a comparison with only those that went well would be
        # unfair to the candidate.
        wanted = (
            passage.choice.slot is Slot.STABLE
            and not passage.choice.pinned
            and passage.path in MIRRORED_PATHS
            and passage.answered
            and (passage.status in _SUCCESS or passage.status >= 500)
            and is_sampled(passage.id, passage.choice.live.route.mirror)
            and passage.id not in self._offered
            and header(scope["headers"], SHADOW) is None
        )
        if wanted:
            self._offered[passage.id] = None
            if len(self._offered) > _REMEMBERED:
                del self._offered[next(iter(self._offered))]
        return wanted

    def _why_not(self, passage: Passage, candidate: str) -> NotCopied | None:
        if (why := why_no_copy(passage.request)) is not None:
            return why
        if passage.called_tools:
            return NotCopied.TOOLS
        if self._settings.max_tokens is not None and (passage.completion_tokens or 0) >= (
            self._settings.max_tokens
        ):
            # Cut off where stable was not: every such pair would speak against the candidate.
            return NotCopied.TOO_LONG
        # The request itself is over and not yet counted so.
        return self._why_not_now(candidate, users=self._users() - 1) or self._no_room(passage)

    def _no_room(self, passage: Passage) -> NotCopied | None:
        if (
            len(self._tasks) >= self._settings.concurrency + self._settings.waiting
            or self._bytes + len(passage.request.body) > _MOST_BYTES
        ):
            return NotCopied.WAITING_ROOM
        return None if self._budget.reserve(passage.tokens) else NotCopied.BUDGET

    def _why_not_now(self, candidate: str, *, users: int) -> NotCopied | None:
        """What may also have come up while a copy waited."""
        if self._draining:
            return NotCopied.DRAINING
        if candidate in self._held:
            return NotCopied.HELD
        most = self._settings.pause_above_in_flight
        return NotCopied.LOAD if most is not None and users > most else None

    def _users(self) -> int:
        """Requests of users that are under way."""
        return sum(self._telemetry.in_flight.values()) - self._sent

    async def _send(self, copy: Choice, original: Passage, scope: Scope, guess: int) -> None:
        used, waits = 0, self._free.locked()
        try:
            async with self._free:
                late = self._why_not_now(copy.served, users=self._users()) if waits else None
                if late is None:
                    used = await self._ask(copy, original, scope)
                else:
                    self._telemetry.mirror_dropped(copy.live.name, late)
        finally:
            self._bytes -= len(original.request.body)
            self._budget.settle(guess, used)

    async def _ask(self, copy: Choice, original: Passage, scope: Scope) -> int:
        """Send it and record what came; the answer is how many tokens it took."""
        body = body_of_copy(original.request, copy.served, self._settings)
        inner = {**scope, "headers": headers_of_copy(scope["headers"], len(body))}
        passage = Passage(copy, original.request, self._telemetry, pair=original.id)
        self._sent += 1
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                await passage.run(self._app, inner, body, no_departure, to_nobody)
        except TimeoutError:
            passage.timed_out()
        except Exception:  # noqa: S110 - there is no one to tell; what went wrong stands in the passage
            pass
        finally:
            self._sent -= 1
            passage.record()
        return passage.tokens
