"""The agent over HTTP: deliveries, readiness, and as much of its server as a tick elsewhere needs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from rollout.agent.delivered import Delivered
from rollout.agent.forward import Forward
from rollout.agent.keeper import Keeper
from rollout.bearer import Bearer
from rollout.core.manifest import AdapterManifest
from rollout.errors import LoadRefused, RolloutError, Unavailable, Unreadable

_LOG: Final = logging.getLogger(__name__)
_LARGEST: Final = 256 * 1024
_KEEP_S: Final = 1.0
_STATUS: Final[tuple[tuple[type[RolloutError], int], ...]] = (
    (Unavailable, 503),
    (LoadRefused, 400),
    (Unreadable, 400),
)
_Body = TypeVar("_Body", bound=BaseModel)
_Act = Callable[[Request], Awaitable[Response]]


class _Load(BaseModel):
    """vLLM's own form, and nothing beside it: `load_inplace` would change what a name means."""

    model_config = ConfigDict(extra="forbid")

    lora_name: str
    lora_path: str


class _Unload(BaseModel):
    model_config = ConfigDict(extra="forbid")

    lora_name: str


class _Refusal(Exception):
    def __init__(self, status: int, message: str, code: str) -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code


class AgentApp:
    """Everything but `/ready` and `/health` is for holders of the token.

    While the application runs, the keeper makes a pass every second.
    """

    def __init__(self, keeper: Keeper, delivered: Delivered, forward: Forward, bearer: Bearer) -> None:
        self._keeper = keeper
        self._delivered = delivered
        self._forward = forward
        self._bearer = bearer
        self._missing: tuple[str, ...] = ("no pass was made yet",)

    def application(self) -> Starlette:
        """The ASGI application."""
        guarded = self._guarded
        return Starlette(
            routes=[
                Route("/ready", self._answering(self._ready)),
                Route("/health", self._answering(self._pass_on)),
                Route("/rollout/adapters", guarded(self._list), methods=["GET"]),
                Route("/rollout/adapters", guarded(self._deliver), methods=["POST"]),
                Route("/v1/load_lora_adapter", guarded(self._load), methods=["POST"]),
                Route("/v1/unload_lora_adapter", guarded(self._unload), methods=["POST"]),
                Route("/v1/chat/completions", guarded(self._pass_on), methods=["POST"]),
                Route("/v1/models", guarded(self._pass_on)),
                Route("/version", guarded(self._pass_on)),
            ],
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        keeping = asyncio.create_task(self._keep())
        try:
            yield
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            await self._forward.close()

    async def _keep(self) -> None:
        while True:
            try:
                self._missing = await asyncio.to_thread(self._keeper.keep)
            except Exception as error:
                # One surprise must not end the passes: a server that restarts would wait for its adapters for ever.
                self._missing = (_said(error),)
            await asyncio.sleep(_KEEP_S)

    async def _ready(self, _: Request) -> Response:
        """Whether the server lists, right now, all that the routes name."""
        try:
            missing = await asyncio.to_thread(self._keeper.missing)
        except Exception as error:
            return JSONResponse({"ready": False, "missing": [_said(error)]}, status_code=503)
        if missing:
            # What a pass found says why; what is looked up now says that it is so.
            return JSONResponse(
                {"ready": False, "missing": list(missing), "why": list(self._missing)}, status_code=503
            )
        return JSONResponse({"ready": True, "missing": []})

    async def _list(self, _: Request) -> Response:
        names = self._delivered.names
        folder = str(self._keeper.folder_of("x").parent)
        return JSONResponse({"folder": folder, "delivered": list(names), "missing": list(self._missing)})

    async def _deliver(self, request: Request) -> Response:
        manifest = await _read(request, AdapterManifest)
        folder = await asyncio.to_thread(self._keeper.deliver, manifest)
        return JSONResponse({"served": manifest.served_name, "folder": str(folder)})

    async def _load(self, request: Request) -> Response:
        wanted = await _read(request, _Load)
        if wanted.lora_path != str(self._keeper.folder_of(wanted.lora_name)):
            raise _Refusal(400, f"{wanted.lora_name}: the path must lie inside the agent's folder", "path")
        await asyncio.to_thread(self._keeper.load, wanted.lora_name)
        return PlainTextResponse(f"Success: LoRA adapter '{wanted.lora_name}' added successfully.")

    async def _unload(self, request: Request) -> Response:
        wanted = await _read(request, _Unload)
        await asyncio.to_thread(self._keeper.unload, wanted.lora_name)
        return PlainTextResponse(f"Success: LoRA adapter '{wanted.lora_name}' removed successfully.")

    async def _pass_on(self, request: Request) -> Response:
        body = await _body(request) if request.method == "POST" else None
        status, content, media_type = await self._forward.ask(request.method, request.url.path, body)
        return Response(content, status_code=status, media_type=media_type)

    def _guarded(self, act: _Act) -> _Act:
        async def guarded(request: Request) -> Response:
            given = request.headers.getlist("authorization")
            denial = self._bearer.deny(given[0].encode("latin-1") if len(given) == 1 else None)
            if denial is not None:
                raise _Refusal(denial.status, denial.message, "no_access")
            return await act(request)

        return self._answering(guarded)

    def _answering(self, act: _Act) -> _Act:
        async def answering(request: Request) -> Response:
            try:
                return await act(request)
            except _Refusal as refusal:
                return _error(refusal.status, refusal.message, refusal.code)
            except RolloutError as error:
                status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
                return _error(status, " ".join(filter(None, (error.message, error.advice))), error.code)
            except Exception as error:
                return _error(500, _said(error), RolloutError.code)

        return answering


def _said(error: Exception) -> str:
    """An error in a sentence; one that nobody expected is logged with where it came from."""
    if isinstance(error, RolloutError):
        return error.message
    _LOG.error("the agent met what it does not expect", exc_info=error)
    return f"the agent met what it does not expect ({type(error).__name__}); its log says where"


def _error(status: int, message: str, code: str) -> Response:
    kind = "invalid_request_error" if status < 500 else "server_error"
    error = {"message": message, "type": kind, "param": None, "code": code}
    return JSONResponse({"error": error}, status_code=status)


async def _body(request: Request) -> bytes:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _LARGEST:
            raise _Refusal(413, f"the request is larger than {_LARGEST} bytes", "too_large")
    return body


async def _read(request: Request, kind: type[_Body]) -> _Body:
    try:
        return kind.model_validate_json(await _body(request))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "body"
        raise _Refusal(400, f"{place}: {first['msg']}", "invalid_document") from None
