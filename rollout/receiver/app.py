"""The receiver of Alertmanager's webhook as an ASGI application.

Nothing is queued here: a body is answered with 2xx once no sending again would change anything. Until then whoever
sends it keeps it, and sends it again, be this process killed in between.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rollout.core.plain import plain
from rollout.errors import Unreadable

_LOG = logging.getLogger(__name__)
_BODY_S = 15.0
_AT_ONCE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What became of a body: the status and the page of the answer, and lines for the log."""

    status: int
    page: Mapping[str, Any]
    lines: Sequence[str] = field(default=())


Act = Callable[[bytes], Done]
"""Does what a body asks for, in a thread. Raises Unreadable for what is no body."""


class _Refusal(Exception):
    """Why a request is not taken. The answer says no more than this."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Receiver:
    """One receiver. `token` is the secret of those who may send, None where their certificates say who they are."""

    def __init__(self, act: Act, token: str | None, *, largest: int, body_s: float = _BODY_S) -> None:
        self._act = act
        self._secret = None if token is None else token.encode()
        self._largest = largest
        self._body_s = body_s
        self._under_way = 0
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="alerts")

    def application(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                Route("/alerts", self._answering(self._alerts), methods=["POST"]),
                Route("/healthz", self._healthz, methods=["GET"]),
            ],
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        yield
        # What was begun is done before the process ends; nothing new begins.
        self._threads.shutdown(wait=False)

    async def _healthz(self, _: Request) -> Response:
        return JSONResponse({"ok": True, "under_way": self._under_way})

    async def _alerts(self, request: Request) -> Response:
        self._see_who_it_is(request)
        if self._under_way >= _AT_ONCE:
            raise _Refusal(503, "Too much is under way here: send it again.")
        self._under_way += 1
        try:
            content = await self._read(request)
            _LOG.info("accepted %d bytes from %s", len(content), _peer(request))
            began = time.monotonic()
            done = await asyncio.get_running_loop().run_in_executor(self._threads, self._act, content)
        except Unreadable as error:
            raise _Refusal(400, error.message) from None
        finally:
            self._under_way -= 1
        for line in done.lines:
            _LOG.log(logging.INFO if done.status < 500 else logging.WARNING, "%s", _line(line))
        _LOG.info("answered %d to %s after %.3f s", done.status, _peer(request), time.monotonic() - began)
        return JSONResponse(done.page, status_code=done.status)

    def _see_who_it_is(self, request: Request) -> None:
        """Raises _Refusal, after the same time for any wrong secret. Nothing of the body was read by then."""
        if self._secret is None:
            return
        given = request.headers.getlist("authorization")
        if len(given) != 1 or not hmac.compare_digest(_secret_of(given[0]), self._secret):
            raise _Refusal(
                401, "Send the secret, as a bearer token or as the password of basic authentication."
            )

    async def _read(self, request: Request) -> bytes:
        said = request.headers.get("content-length", "")
        if said.isdecimal() and int(said[:20]) > self._largest:
            raise _Refusal(413, f"The body is larger than {self._largest} bytes.")
        parts, size = [], 0
        try:
            async with asyncio.timeout(self._body_s):
                async for part in request.stream():
                    size += len(part)
                    if size > self._largest:
                        raise _Refusal(413, f"The body is larger than {self._largest} bytes.")
                    parts.append(part)
        except TimeoutError:
            raise _Refusal(408, f"The body did not arrive within {self._body_s:.0f} s.") from None
        return b"".join(parts)

    def _answering(self, page: Callable[[Request], Any]) -> Callable[[Request], Any]:
        async def answering(request: Request) -> Response:
            try:
                found: Response = await page(request)
            except _Refusal as refusal:
                _LOG.warning("refused %d from %s: %s", refusal.status, _peer(request), _line(refusal.message))
                headers = {"connection": "close"} if refusal.status in (408, 413) else {}
                if refusal.status == 401:
                    headers["www-authenticate"] = "Bearer"
                return JSONResponse({"error": refusal.message}, status_code=refusal.status, headers=headers)
            except ClientDisconnect:
                _LOG.warning("refused: %s left before its body was there", _peer(request))
                return Response(status_code=400)
            except Exception as error:
                _LOG.error("a body met what nobody expects (%s)", type(error).__name__, exc_info=error)
                return JSONResponse({"error": "This is a bug; the log says more."}, status_code=500)
            return found

        return answering


def _secret_of(authorization: str) -> bytes:
    """The secret that a header holds, empty where it holds none."""
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip().encode("latin-1", "replace")
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(rest.strip(), validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return b""
    return b""


def _peer(request: Request) -> str:
    client = request.client
    return "a client" if client is None else f"{client.host}:{client.port}"


def _line(text: str) -> str:
    return plain(text, 1000, nothing="-")
