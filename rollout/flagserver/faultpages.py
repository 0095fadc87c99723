"""Where faults are switched on and off from outside. There is no such page unless it was asked for."""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rollout.errors import Usage
from rollout.flagserver.access import Access
from rollout.flagserver.desk import read_object
from rollout.flagserver.faults import FAULTS, Fault
from rollout.flagserver.refusal import invalid


class FaultPages:
    """`/faults`, for holders of an access token that may write."""

    def __init__(
        self,
        access: Access,
        add: Callable[[Fault], None],
        lift: Callable[[], None],
        names: Callable[[], list[str]],
    ) -> None:
        self._access = access
        self._add = add
        self._lift = lift
        self._names = names

    def routes(self) -> list[Route]:
        """The routes."""
        return [
            Route("/faults", self.list, methods=["GET"]),
            Route("/faults", self.add, methods=["POST"]),
            Route("/faults", self.lift, methods=["DELETE"]),
        ]

    async def list(self, request: Request) -> Response:
        """Those that are on, and those that there are."""
        self._access.token(request)
        return JSONResponse({"on": self._names(), "faults": dict(FAULTS)})

    async def add(self, request: Request) -> Response:
        """Switch one on: `name`, and maybe `times`, `seconds`, `on` (write, read, any)."""
        self._access.token(request)
        try:
            self._add(_fault(await read_object(request)))
        except Usage as error:
            raise invalid(error.message) from error
        return JSONResponse({"on": self._names()}, status_code=201)

    async def lift(self, request: Request) -> Response:
        """Switch all off."""
        self._access.token(request)
        self._lift()
        return Response(status_code=204)


def _fault(body: dict[str, object]) -> Fault:
    match body:
        case {"name": str(name), **rest}:
            times, seconds, on = rest.get("times"), rest.get("seconds", 1.0), rest.get("on", "write")
            counted = times is None or (type(times) is int and times > 0)
            timed = type(seconds) in (int, float) and 0 <= float(str(seconds)) <= 600
            if counted and timed and isinstance(on, str) and rest.keys() <= {"times", "seconds", "on"}:
                assert times is None or isinstance(times, int)
                return Fault(name=name, times=times, seconds=float(str(seconds)), on=on)
    raise invalid(
        "A fault has a name, and may have times (above 0), seconds (to 600), on (write, read, any)."
    )
