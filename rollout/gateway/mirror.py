"""Shadow copies: the candidate answers what stable was asked, and nobody waits for it."""

from __future__ import annotations

import asyncio
import hashlib

from rollout.core.flag import Slot
from rollout.core.plan import WHOLE, Share
from rollout.gateway.openai import MIRRORED_PATHS, App, Message, Scope, for_upstream
from rollout.gateway.passage import Choice, Passage
from rollout.gateway.telemetry import Telemetry

_SUCCESS = range(200, 300)


class Mirror:
    """Sends copies in the background, `workers` at a time; beyond `waiting` more they are dropped and counted.

    A copy begins when the user's answer is complete, so that the two never compete for the same moment of the
    same connection. Its failures are recorded and otherwise swallowed.
    """

    def __init__(
        self,
        app: App,
        telemetry: Telemetry,
        *,
        workers: int = 8,
        waiting: int = 64,
        timeout_s: float = 120.0,
    ) -> None:
        self._app = app
        self._telemetry = telemetry
        self._free = asyncio.Semaphore(workers)
        self._limit = workers + waiting
        self._timeout_s = timeout_s
        self._tasks: set[asyncio.Task[None]] = set()

    def offer(self, passage: Passage, scope: Scope) -> bool:
        """Copy a request that is over, if it should be; the answer is whether the copy will be sent."""
        choice = passage.choice
        candidate = choice.live.route.candidate
        if candidate is None or not self._wanted(passage, scope):
            return False
        if len(self._tasks) >= self._limit:
            self._telemetry.mirror_dropped(choice.live.name)
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
        body = passage.request.as_copy(candidate)
        headers = for_upstream(scope["headers"], len(body))
        task = asyncio.create_task(self._send(copy, passage, {**scope, "headers": headers}, body))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def close(self, *, wait_s: float = 2.0) -> None:
        """Let copies under way finish for `wait_s` seconds, then drop them unrecorded as failures."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=wait_s)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _wanted(self, passage: Passage, scope: Scope) -> bool:
        # Failed answers of stable are copied too: a comparison with only those that went well would be
        # unfair to the candidate.
        return (
            passage.choice.slot is Slot.STABLE
            and not passage.choice.pinned
            and scope["path"] in MIRRORED_PATHS
            and passage.answered
            and (passage.status in _SUCCESS or passage.status >= 500)
            and is_sampled(passage.id, passage.choice.live.route.mirror)
        )

    async def _send(self, copy: Choice, original: Passage, scope: Scope, body: bytes) -> None:
        async with self._free:
            passage = Passage(copy, original.request, self._telemetry, pair=original.id)
            try:
                async with asyncio.timeout(self._timeout_s):
                    await passage.run(self._app, scope, body, _never, _nowhere)
            except TimeoutError:
                passage.timed_out()
            except Exception:  # noqa: S110 - there is no one to tell; what went wrong stands in the passage
                pass
            finally:
                passage.record()


def is_sampled(request_id: str, share: Share) -> bool:
    """Whether a request belongs to the sample: the same answer wherever and whenever it is asked."""
    digest = hashlib.sha256(request_id.encode()).digest()
    return int.from_bytes(digest[:8], "big") % WHOLE < share.thousandths


async def _never() -> Message:
    await asyncio.Event().wait()  # a copy's client never leaves
    raise AssertionError


async def _nowhere(message: Message) -> None:
    """A copy's answer is read on its way and given to nobody."""
