"""The whole server as an ASGI application."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import ASGIApp

from rollout.errors import Usage
from rollout.flagserver import plans
from rollout.flagserver.access import Access
from rollout.flagserver.desk import Desk
from rollout.flagserver.door import Door, Heard, Limits, Witness
from rollout.flagserver.faultpages import FaultPages
from rollout.flagserver.faults import AT_ONCE, Fault, Faults
from rollout.flagserver.flagpages import FlagPages
from rollout.flagserver.keeping import Keeping
from rollout.flagserver.planpages import PlanPages
from rollout.flagserver.recordpages import RecordPages
from rollout.flagserver.refusal import Refusal, answer_crash, answer_http_error, answer_refusal
from rollout.flagserver.sdkpages import SdkPages
from rollout.flagserver.shown import Scope
from rollout.flagserver.stream import Broadcast

HEARTBEAT_S: Final = 15.0
REQUESTS_IN_TEN_SECONDS: Final = 10_000
_SCHEDULER_S: Final = 0.25
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagServerSettings:
    """What is served: one file as one environment of one project. `heartbeat_s` is between two comments on a stream.

    With `faults` there is a page that switches faults on: for trying out what depends on this, never else.
    """

    path: Path
    project: str = "default"
    environment: str = "production"
    heartbeat_s: float = HEARTBEAT_S
    rate_limit: int = REQUESTS_IN_TEN_SECONDS
    faults: bool = False

    def __post_init__(self) -> None:
        for key in (self.project, self.environment):
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", key):
                raise Usage(f"{key!r} is no key of a project or an environment")


def _unheard(_: Heard) -> None:
    return


class FlagServer:
    """A local LaunchDarkly. `fault`, `no_faults` and `leave` may be called from any thread."""

    def __init__(self, settings: FlagServerSettings, access: Access, *, witness: Witness = _unheard) -> None:
        scope = Scope(project=settings.project, environment=settings.environment, sdk_key=access.sdk_key)
        self._access = access
        self._faults = Faults()
        self._broadcast = Broadcast(heartbeat_s=settings.heartbeat_s)
        self._keeping = Keeping(settings.path, self._broadcast.publish)
        self._limits = Limits(settings.rate_limit)
        self._witness = witness
        self._shows_faults = settings.faults
        self._desk = Desk(
            scope=scope,
            access=access,
            keeping=self._keeping,
            broadcast=self._broadcast,
            faults=self._faults,
        )

    def open(self) -> None:
        """Read the flag file, or make it. Raises Unreadable for one that is no flag file, Unavailable."""
        self._keeping.open()

    def application(self) -> ASGIApp:
        """The ASGI application; its lifespan reads and watches the file."""
        app = Starlette(
            routes=self._routes(),
            lifespan=self._lifespan,
            exception_handlers={
                Refusal: answer_refusal,
                HTTPException: answer_http_error,
                Exception: answer_crash,
            },
        )
        return Door(app, self._access, self._faults, self._limits, self._witness)

    def fault(self, fault: Fault) -> None:
        """Switch a fault on."""
        match fault.name:
            case "drop-stream":
                self._broadcast.drop()
            case "half-open":
                self._broadcast.freeze()
            case "malformed-patch":
                self._broadcast.malform = fault.times or 1
        if fault.name not in AT_ONCE and fault.name != "malformed-patch":
            self._faults.add(fault)

    def no_faults(self) -> None:
        """Switch all faults off. A half-open stream stays what it is."""
        self._faults.lift()
        self._broadcast.malform = 0

    def leave(self) -> None:
        """End the streams, so that the server can stop."""
        self._broadcast.close()

    def _routes(self) -> list[Route]:
        pages = (FlagPages, PlanPages, RecordPages, SdkPages)
        routes = [route for page in pages for route in page(self._desk).routes()]
        if self._shows_faults:
            routes += FaultPages(self._access, self.fault, self.no_faults, self._faults.names).routes()
        return routes

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        self._broadcast.run()
        await asyncio.to_thread(self._keeping.start)
        scheduling = asyncio.create_task(self._schedule())
        try:
            yield
        finally:
            scheduling.cancel()
            await asyncio.gather(scheduling, return_exceptions=True)
            await asyncio.to_thread(self._keeping.stop)

    async def _schedule(self) -> None:
        while True:
            await asyncio.sleep(_SCHEDULER_S)
            if plans.due(self._keeping.book):
                try:  # the file cannot be written now, or a plan is odd: the next round tries again
                    await self._desk.change(plans.carry_out_due)
                except Refusal as error:
                    _LOG.warning("what is due cannot be carried out now: %s", error.message)
                except Exception:
                    _LOG.exception("what is due cannot be carried out")
