"""Turns a logical model name into an adapter version: once a request, the same for a user every time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from rollout.core.environment import ContextKey
from rollout.core.flag import Slot
from rollout.gateway.admin import Admin
from rollout.gateway.mirror import Mirror
from rollout.gateway.openai import (
    INFERENCE_PATHS,
    App,
    ClientLeftError,
    Headers,
    Message,
    Receive,
    RefusedError,
    Scope,
    Send,
    for_upstream,
    header,
    parse_request,
    read_body,
    send_refusal,
    unknown_model,
    with_model,
)
from rollout.gateway.passage import Choice, Passage
from rollout.gateway.routes import LiveRoute, RouteTable
from rollout.gateway.telemetry import Telemetry
from rollout.ports import FlagReader

NO_CANDIDATE = "NO_CANDIDATE"
STALE_FLAG = "STALE_FLAG"


class VersionChooser:
    """Chooses the adapter for a request: stable unless flag, routes and flag version all say otherwise."""

    def __init__(self, table: RouteTable, flags: FlagReader, context_key: ContextKey) -> None:
        self._table = table
        self._flags = flags
        self._headers = [name.lower().encode("latin-1") for name in context_key.headers]
        self._body_user = context_key.body_user

    def choose(self, name: str, headers: Headers, request: dict[str, Any]) -> Choice | None:
        """The adapter for a request to `name`, or None if there is no such route."""
        live = self._table.find(name)
        return None if live is None else self._choice(live, self.sticky_key(headers, request))

    def sticky_key(self, headers: Headers, request: dict[str, Any]) -> str | None:
        """What makes a request sticky: the first configured header that is present, else the body's `user`."""
        for wanted in self._headers:
            if (value := header(headers, wanted)) is not None:
                return value
        user = request.get("user") if self._body_user else None
        return user.strip() or None if isinstance(user, str) else None

    def _choice(self, live: LiveRoute, key: str | None) -> Choice:
        route = live.route
        decision = self._flags.slot(route.flag, key)
        served, slot, reason = route.stable, Slot.STABLE, decision.reason
        if decision.slot is Slot.CANDIDATE:
            if route.candidate is None:
                reason = NO_CANDIDATE
            elif decision.version is None or decision.version < route.min_flag_version:
                # The flag data are older than this candidate: what they dial up is another one.
                reason = STALE_FLAG
            else:
                served, slot = route.candidate, Slot.CANDIDATE
        return Choice(
            live=live, served=served, slot=slot, flag_version=decision.version, reason=reason, key=key
        )


class AdapterRouter:
    """ASGI middleware that rewrites `model` for `app` and records what came back.

    `exclusive` is for the stand-alone gateway: then nothing but inference and the gateway's own pages can be
    reached, so that no client can load or unload an adapter through it. Inside an engine everything else
    passes untouched, as do requests that name a served adapter itself. `on_shutdown` runs when the server ends.
    """

    def __init__(
        self,
        app: App,
        *,
        chooser: VersionChooser,
        telemetry: Telemetry,
        mirror: Mirror,
        admin: Admin,
        exclusive: bool,
        on_shutdown: Callable[[], Awaitable[None]],
    ) -> None:
        self._app = app
        self._chooser = chooser
        self._telemetry = telemetry
        self._mirror = mirror
        self._admin = admin
        self._exclusive = exclusive
        self._on_shutdown = on_shutdown

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope."""
        match scope["type"]:
            case "lifespan":
                await self._lifespan(scope, receive, send)
            case "http" if scope["method"] == "POST" and scope["path"] in INFERENCE_PATHS:
                await self._infer(scope, receive, send)
            case "http" if self._admin.answers(scope, exclusive=self._exclusive):
                await self._admin.answer(scope, send)
            case "http" if self._exclusive:
                self._telemetry.refused(404)
                await send_refusal(send, RefusedError(404, "There is nothing here.", code="not_found"))
            case "http" | "websocket" if not self._exclusive:
                await self._app(scope, receive, send)
            case _:
                await send({"type": "websocket.close", "code": 1000})

    async def _infer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await read_body(receive)
            request = parse_request(scope["headers"], body)
            choice = self._chooser.choose(request["model"], scope["headers"], request)
            if choice is None and self._exclusive:
                raise unknown_model(request["model"])
            routed = b"" if choice is None else with_model(request, choice.served)
        except ClientLeftError:
            return
        except RefusedError as refused:
            self._telemetry.refused(refused.status)
            await send_refusal(send, refused)
            return
        if choice is None:
            await self._app(scope, _replay(body, receive), send)
        else:
            await self._carry(choice, request, routed, scope, receive, send)

    async def _carry(
        self,
        choice: Choice,
        request: dict[str, Any],
        body: bytes,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        inner = {**scope, "headers": for_upstream(scope["headers"], len(body))}
        passage = Passage(choice, self._telemetry)
        mirrored = False
        try:
            await passage.run(self._app, inner, body, receive, send)
            mirrored = self._mirror.offer(passage, scope, request)
        finally:
            passage.record(mirrored=mirrored)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def take(message: Message) -> None:
            if message["type"].startswith("lifespan.shutdown."):
                await self._on_shutdown()
            await send(message)

        await self._app(scope, receive, take)


def _replay(body: bytes, receive: Receive) -> Receive:
    given = False

    async def give() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return give
