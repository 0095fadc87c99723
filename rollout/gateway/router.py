"""Turns a logical model name into an adapter version: once a request, the same for a user every time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container
from dataclasses import replace

from rollout.bearer import Bearer
from rollout.core.environment import GatewaySettings
from rollout.core.flag import Slot
from rollout.gateway.admin import Admin
from rollout.gateway.contextkey import ContextKeys
from rollout.gateway.feedback import PATH as FEEDBACK_PATH
from rollout.gateway.feedback import FeedbackPage
from rollout.gateway.mirror import Mirror
from rollout.gateway.openai import (
    INFERENCE_PATHS,
    App,
    ClientLeftError,
    Headers,
    InferenceRequest,
    Message,
    Receive,
    RefusedError,
    Room,
    Scope,
    Send,
    for_upstream,
    header,
    local_path,
    overloaded,
    read_body,
    send_refusal,
    unknown_model,
)
from rollout.gateway.passage import Choice, Passage
from rollout.gateway.routes import LiveRoute, RouteTable
from rollout.gateway.telemetry import Telemetry
from rollout.ports import FlagReader

NO_CANDIDATE = "NO_CANDIDATE"
STALE_FLAG = "STALE_FLAG"
OLD_FLAG = "OLD_FLAG"
HELD = "HELD"
PINNED = "PINNED"
RETRIED = "RETRIED"

_PIN = b"x-rollout-pin"
_TOKEN = b"x-rollout-token"


class VersionChooser:
    """Chooses the adapter for a request: stable unless flag, routes, flag version and age all say otherwise.

    `held` are served adapters that nobody gets. A request that names a slot in `x-rollout-pin` gets it if its
    `x-rollout-token` is one that `bearer` knows.
    """

    def __init__(
        self,
        table: RouteTable,
        flags: FlagReader,
        keys: ContextKeys,
        *,
        held: Container[str] = (),
        bearer: Bearer | None = None,
    ) -> None:
        self._table = table
        self._flags = flags
        self._keys = keys
        self._held = held
        self._bearer = bearer or Bearer()

    def choose(self, headers: Headers, request: InferenceRequest) -> Choice | None:
        """The adapter for a request, or None if there is no such route. Raises RefusedError (403, 409)."""
        live = self._table.find(request.model)
        if live is None:
            return None
        key, conversation = self._keys.find(live.name, headers, request)
        if (pin := header(headers, _PIN)) is not None:
            return self._pinned(live, pin, headers, key, conversation)
        return self._choice(live, key, conversation)

    def _choice(self, live: LiveRoute, key: str | None, conversation: str | None) -> Choice:
        route = live.route
        decision = self._flags.slot(route.flag, key)
        served, slot, reason = route.stable, Slot.STABLE, decision.reason
        if decision.slot is Slot.CANDIDATE:
            if route.candidate is None:
                reason = NO_CANDIDATE
            elif route.candidate in self._held:
                reason = HELD
            elif decision.version is None or decision.version < route.min_flag_version:
                # The flag data are older than this candidate: what they dial up is another one.
                reason = STALE_FLAG
            elif route.max_flag_age_s is not None and self._flags.age_s(route.flag) > route.max_flag_age_s:
                # Nobody knows whether the flag still says so.
                reason = OLD_FLAG
            else:
                served, slot = route.candidate, Slot.CANDIDATE
        return Choice(
            live=live,
            served=served,
            slot=slot,
            flag_version=decision.version,
            reason=reason,
            key=key,
            conversation=conversation,
        )

    def _pinned(
        self, live: LiveRoute, pin: str, headers: Headers, key: str | None, conversation: str | None
    ) -> Choice:
        given = header(headers, _TOKEN) or ""
        if not self._bearer.knows(given.encode()):
            raise RefusedError(403, "A version is pinned with the gateway's token only.", code="pin_refused")
        served = {"stable": live.route.stable, "candidate": live.route.candidate}.get(pin)
        if served is None or (pin == "candidate" and served in self._held):
            raise RefusedError(
                409, "There is no such version to pin: stable, or a candidate that is not held."
            )
        return Choice(
            live=live,
            served=served,
            slot=Slot(pin),
            flag_version=None,
            reason=PINNED,
            key=key,
            conversation=conversation,
            pinned=True,
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
        feedback: FeedbackPage,
        settings: GatewaySettings,
        exclusive: bool,
        on_shutdown: Callable[[], Awaitable[None]],
    ) -> None:
        self._app = app
        self._chooser = chooser
        self._telemetry = telemetry
        self._mirror = mirror
        self._admin = admin
        self._feedback = feedback
        self._settings = settings
        self._exclusive = exclusive
        self._on_shutdown = on_shutdown
        self._under_way = 0
        self._room = Room(settings.max_bodies_mb * 1024 * 1024)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope."""
        path = local_path(scope) if scope["type"] == "http" else ""
        match scope["type"]:
            case "lifespan":
                await self._lifespan(scope, receive, send)
            case "http" if scope["method"] == "POST" and path in INFERENCE_PATHS:
                await self._infer(scope, receive, send)
            case "http" if path == FEEDBACK_PATH:
                await self._feedback.answer(scope, receive, send)
            case "http" if self._admin.answers(own := {**scope, "path": path}, exclusive=self._exclusive):
                await self._admin.answer(own, receive, send)
            case "http" if self._exclusive:
                await self._refuse(send, RefusedError(404, "There is nothing here.", code="not_found"))
            case "http" | "websocket" if not self._exclusive:
                await self._app(scope, receive, send)
            case _:
                await send({"type": "websocket.close", "code": 1000})

    async def _infer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await self._read(scope["headers"], receive)
        except ClientLeftError:
            return
        except RefusedError as refused:
            await self._refuse(send, refused)
            return
        # Only now: whoever sends slowly takes nobody's turn.
        self._under_way += 1
        try:
            await self._route(body, scope, receive, send)
        finally:
            self._under_way -= 1
            self._room.give_back(len(body))

    async def _read(self, headers: Headers, receive: Receive) -> bytes:
        largest = self._settings.max_body_mb * 1024 * 1024
        told = header(headers, b"content-length") or "0"
        if told.isdecimal() and int(told[:20]) > largest:
            raise RefusedError(413, f"The request is larger than {largest} bytes.")
        pause_s = self._settings.body_timeout_s
        return await read_body(receive, largest=largest, pause_s=pause_s, room=self._room)

    async def _route(self, body: bytes, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if self._under_way > self._settings.max_in_flight:
                raise overloaded()
            request = InferenceRequest.parse(scope["headers"], body)
            choice = self._chooser.choose(scope["headers"], request)
            if choice is None and self._exclusive:
                raise unknown_model(request.model)
        except RefusedError as refused:
            await self._refuse(send, refused)
            return
        if choice is None:
            await self._app(scope, _replay(body, receive), send)
        else:
            await self._carry(choice, request, scope, receive, send)

    async def _carry(
        self, choice: Choice, request: InferenceRequest, scope: Scope, receive: Receive, send: Send
    ) -> None:
        spare = None
        if choice.slot is Slot.CANDIDATE and not choice.pinned and self._settings.retry_on_stable:
            stable = choice.live.route.stable
            spare = replace(choice, served=stable, slot=Slot.STABLE, reason=RETRIED)
        first = await self._pass(choice, request, scope, receive, send, forgiving=spare is not None)
        if spare is not None and first.withheld:
            await self._pass(spare, request, scope, receive, send, retry_of=first.id)

    async def _pass(
        self,
        choice: Choice,
        request: InferenceRequest,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        forgiving: bool = False,
        retry_of: str | None = None,
    ) -> Passage:
        body = request.to(choice.served)
        inner = {**scope, "headers": for_upstream(scope["headers"], len(body))}
        restore = self._settings.restore_model
        passage = Passage(choice, request, self._telemetry, retry_of=retry_of, restore=restore)
        mirrored = False
        try:
            await passage.run(self._app, inner, body, receive, send, forgiving=forgiving)
            mirrored = retry_of is None and self._mirror.offer(passage, scope)
        finally:
            passage.record(mirrored=mirrored)
        return passage

    async def _refuse(self, send: Send, refused: RefusedError) -> None:
        self._telemetry.refused(refused.status)
        headers = [(b"retry-after", b"1")] if refused.status == 429 else None
        await send_refusal(send, refused, headers)

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
