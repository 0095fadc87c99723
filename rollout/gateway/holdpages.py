"""The kill path over HTTP: all traffic of an adapter to stable, in force before the answer is sent."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from pydantic import model_validator

from rollout.core.manifest import Document, Line, Name
from rollout.errors import RolloutError
from rollout.gateway.guard import Asked, Pages, Told, told
from rollout.gateway.holds import Hold, Holds
from rollout.gateway.openai import RefusedError
from rollout.gateway.routes import RouteTable


class HoldAsked(Document):
    """Which adapter gets no request any more: by its served name, or as the candidate of a logical name."""

    served: Line | None = None
    name: Name | None = None
    by: Line
    reason: Line

    @model_validator(mode="after")
    def _names_one(self) -> HoldAsked:
        if (self.served is None) == (self.name is None):
            raise ValueError("name the adapter by `served`, or by the logical `name`, and not by both")
        return self


class HoldPages:
    """`/rollout/hold`: list, hold, lift. What was asked is in force even where it cannot be written down."""

    def __init__(self, holds: Holds, table: RouteTable) -> None:
        self._holds = holds
        self._table = table
        # A thread of its own: a kill must not wait behind anybody who reads.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="holds")

    @property
    def pages(self) -> Pages:
        """Its pages."""
        return {
            "/rollout/hold": {"GET": self._list, "POST": self._hold},
            "/rollout/hold/": {"DELETE": self._lift},
        }

    async def _list(self, _: Asked) -> Told:
        return told({"held": {served: hold.model_dump() for served, hold in self._holds.held.items()}})

    async def _hold(self, asked: Asked) -> Told:
        wanted = asked.document(HoldAsked)
        served = wanted.served or self._candidate_of(wanted.name or "")
        named = [live for name in self._table.names if (live := self._table.find(name)) is not None]
        if any(live.route.stable == served for live in named):
            raise RefusedError(
                409,
                f"{served} is what stable serves, so that nothing is left to serve in its place. "
                "`rollout rollback` takes it back.",
                code="is_stable",
            )
        self._holds.hold(served, Hold(by=wanted.by, reason=wanted.reason))
        await self._keep(served)
        routes = [live.name for live in named if live.route.candidate == served]
        return told({"held": served, "by": wanted.by, "reason": wanted.reason, "candidate_of": routes})

    async def _keep(self, served: str) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._holds.keep, served)
        except RolloutError as error:
            raise RefusedError(
                507,
                f"{served} is held by this process from now on, but a restart forgets it: {error.message}",
                code="held_not_kept",
            ) from error

    async def _lift(self, asked: Asked) -> Told:
        served = asked.rest
        lifted = await asyncio.get_running_loop().run_in_executor(self._thread, self._holds.lift, served)
        if not lifted:
            raise RefusedError(404, f"{served[:200]} is not held.", code="not_held")
        return told({"lifted": served})

    def _candidate_of(self, name: str) -> str:
        live = self._table.find(name)
        if live is None or live.route.candidate is None:
            what = "no route of that name" if live is None else "no candidate under that name"
            raise RefusedError(404, f"There is {what}, so that nothing is to be held.", code="no_candidate")
        return live.route.candidate
