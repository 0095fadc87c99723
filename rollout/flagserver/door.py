"""Before and after every page: the method that is meant, the limits, the faults, and who listens in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rollout.flagserver.access import Access
from rollout.flagserver.desk import is_true
from rollout.flagserver.faults import AT_THE_DOOR, PROXY_PAGE, Fault, Faults, refusal, spared
from rollout.flagserver.refusal import Refusal

_REST: Final = "/api/"
_WINDOW_S: Final = 10
_LONGEST_SILENCE_S: Final = 120.0
_DRIP_S: Final = 0.2


@dataclass(kw_only=True)
class Heard:
    """One request. `status` is None as long as nothing was answered; `path` has the query."""

    method: str
    path: str
    body: bytes = b""
    status: int | None = None


Witness = Callable[[Heard], None]


class Limits:
    """Requests that a token may make in ten seconds. Told with every answer, in the headers of a route's limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._window = -1
        self._made: dict[str, int] = {}

    def count(self, who: str) -> dict[str, str]:
        """One request more. Raises Refusal 429 if it is one too many."""
        window = int(time.time()) // _WINDOW_S
        if window != self._window:
            self._window, self._made = window, {}
        made = self._made[who] = self._made.get(who, 0) + 1
        headers = {
            "X-Ratelimit-Route-Limit": str(self._limit),
            "X-Ratelimit-Route-Remaining": str(max(0, self._limit - made)),
            "X-Ratelimit-Reset": str((window + 1) * _WINDOW_S * 1000),
        }
        if made > self._limit:
            raise Refusal(429, "You've exceeded the API rate limit. Try again later.", headers=headers)
        return headers


class Door:
    """ASGI middleware."""

    def __init__(
        self, app: ASGIApp, access: Access, faults: Faults, limits: Limits, witness: Witness
    ) -> None:
        self._app = app
        self._access = access
        self._faults = faults
        self._limits = limits
        self._witness = witness

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        scope["method"] = meant = _meant(request)
        heard = Heard(method=meant, path=_whole_path(request))
        self._witness(heard)
        receive, send = _overhearing(heard, receive, send)
        if not scope["path"].startswith(_REST):
            await self._app(scope, receive, send)
            return
        try:
            token = self._access.token(request)
            send = _with_headers(self._limits.count(token.id), send)
            fault = self._fault(request, bypasses=token.bypasses)
        except Refusal as error:
            await error.answer()(scope, receive, send)
            return
        await self._pass(fault, scope, receive, send)

    def _fault(self, request: Request, *, bypasses: bool) -> Fault | None:
        spares = spared(
            request.scope["path"],
            request.method,
            rehearses=is_true(request, "dryRun"),
            ignores_conflicts=is_true(request, "ignoreConflicts"),
            bypasses=bypasses,
        )
        return self._faults.take(AT_THE_DOOR, write=request.method != "GET", except_for=spares)

    async def _pass(self, fault: Fault | None, scope: Scope, receive: Receive, send: Send) -> None:
        match fault.name if fault else None:
            case None:
                await self._app(scope, receive, send)
            case "slow":
                assert fault is not None
                await asyncio.sleep(fault.seconds)
                await self._app(scope, receive, send)
            case "drip":
                await self._app(scope, receive, _dripping(send))
            case "timeout-before":
                await _silence(receive)
            case "timeout-after":
                await self._app(scope, receive, _nobody)
                await _silence(receive)
            case "502" | "503" as status:
                await HTMLResponse(PROXY_PAGE, int(status))(scope, receive, send)
            case _:
                assert fault is not None
                await refusal(fault).answer()(scope, receive, send)


def _meant(request: Request) -> str:
    override = request.headers.get("x-http-method-override", "").upper()
    return override if request.method == "POST" and override in ("PATCH", "PUT", "DELETE") else request.method


def _whole_path(request: Request) -> str:
    query = request.url.query
    return f"{request.url.path}?{query}" if query else request.url.path


def _overhearing(heard: Heard, receive: Receive, send: Send) -> tuple[Receive, Send]:
    async def hear() -> Message:
        message = await receive()
        heard.body += message.get("body", b"")
        return message

    async def tell(message: Message) -> None:
        if message["type"] == "http.response.start":
            heard.status = message["status"]
        await send(message)

    return hear, tell


def _with_headers(headers: dict[str, str], send: Send) -> Send:
    async def tell(message: Message) -> None:
        if message["type"] == "http.response.start":
            given: Any = message.setdefault("headers", [])
            names = {name.lower() for name, _ in given}
            # A response carries the headers of one family: those of a refusal are the ones that matter.
            if not any(name.startswith(b"x-ratelimit") or name == b"retry-after" for name in names):
                given.extend((name.lower().encode(), value.encode()) for name, value in headers.items())
        await send(message)

    return tell


def _dripping(send: Send) -> Send:
    async def tell(message: Message) -> None:
        content = message.get("body", b"") if message["type"] == "http.response.body" else b""
        for place in range(len(content)):
            await send({**message, "body": content[place : place + 1], "more_body": True})
            await asyncio.sleep(_DRIP_S)
        await send({**message, "body": b""} if content else message)

    return tell


async def _nobody(_: Message) -> None:
    return


async def _silence(receive: Receive) -> None:
    """No answer until the client leaves."""
    async with asyncio.timeout(_LONGEST_SILENCE_S):
        while (await receive())["type"] != "http.disconnect":
            pass
