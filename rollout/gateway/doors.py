"""Who gets in where: users at one door, those who run the gateway at another, and nobody new while it drains."""

from __future__ import annotations

from rollout.gateway.openai import (
    INFERENCE_PATHS,
    App,
    Message,
    Receive,
    RefusedError,
    Scope,
    Send,
    send_bytes,
    send_refusal,
)

_OWN = "/rollout/"
_METRICS = "/metrics"
_HEALTH = "/health"
_FOR_USERS = INFERENCE_PATHS | {"/v1/rollout/feedback"}


class Doors:
    """One app behind two doors. If they are `apart`, the gateway's own pages are behind the private one alone.

    While it is `draining`, `/health` says so on both, requests are still served, and each answer asks its client
    to connect anew, elsewhere.
    """

    def __init__(self, app: App, *, apart: bool) -> None:
        self._app = app
        self._apart = apart
        self.draining = False

    async def public(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The door of users."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif self._apart and (scope["path"].startswith(_OWN) or scope["path"] == _METRICS):
            await send_refusal(send, _nothing())
        else:
            await self._serve(scope, receive, send)

    async def private(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The door of those who run the gateway."""
        if scope["type"] != "http":
            return
        if scope["path"] in _FOR_USERS:
            await send_refusal(send, _nothing())
        else:
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self.draining:
            await self._app(scope, receive, send)
        elif scope["path"] == _HEALTH:
            await send_bytes(send, 503, b'{"status": "draining"}', headers=[(b"connection", b"close")])
        else:
            await self._app(scope, receive, _closing(send))


def _nothing() -> RefusedError:
    return RefusedError(404, "There is nothing here.", code="not_found")


def _closing(send: Send) -> Send:
    async def pass_on(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
        await send(message)

    return pass_on
