"""The routes: OpenAI's generation, vLLM's runtime LoRA loading, and health."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest
from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from rollout import __version__
from rollout.core.generation import Decoding
from rollout.errors import Unreadable
from rollout.ports import Message
from rollout.server.answer import Piece
from rollout.server.decoder import Codec, Decoder
from rollout.server.errors import Refusal, answer_crash, answer_refusal, bad_request, not_valid
from rollout.server.generating import Limits, decoding, prompts, respond
from rollout.server.requests import (
    ChatMessage,
    ChatRequest,
    CompletionRequest,
    LoadRequest,
    TokenizeRequest,
    UnloadRequest,
)
from rollout.server.rows import Rows
from rollout.server.shapes import ChatShape, CompletionShape, Document, TokenNames, reading
from rollout.server.shelf import Offer, Shelf
from rollout.server.worker import Failure, Post, Sink, Worker

_BODY_LIMIT: Final = 2 * 1024 * 1024
_COMPLETION_TOKENS: Final = 16  # OpenAI's default for completions; chat runs to the end of the context
_STOP_SECONDS: Final = 5.0
_Body = TypeVar("_Body", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """How the server is set up.

    `max_loras` is the number of different adapters in one batch. Without an `adapter_root` the two routes that
    load and unload do not exist, as in vLLM without runtime loading.
    """

    base_name: str
    base_root: str
    limits: Limits
    batch_size: int = 16
    max_loras: int = 8
    adapter_root: Path | None = None
    offers: tuple[Offer, ...] = ()


def create_app(decoder: Decoder, codec: Codec, settings: ServerSettings) -> Starlette:
    """The ASGI application; its lifespan runs the worker."""
    api = _Api(decoder, codec, settings)
    routes = [
        Route("/v1/chat/completions", api.chat, methods=["POST"]),
        Route("/v1/completions", api.complete, methods=["POST"]),
        Route("/tokenize", api.tokenize, methods=["POST"]),
        Route("/v1/models", api.models),
        Route("/health", api.health),
        Route("/version", api.version),
        Route("/metrics", api.metrics),
    ]
    if settings.adapter_root is not None:
        routes.append(Route("/v1/load_lora_adapter", api.load, methods=["POST"]))
        routes.append(Route("/v1/unload_lora_adapter", api.unload, methods=["POST"]))
    return Starlette(
        routes=routes,
        lifespan=api.lifespan,
        exception_handlers={
            Refusal: answer_refusal,
            HTTPException: _answer_http_error,
            Exception: answer_crash,
        },
    )


class _Api:
    _worker: Worker
    _shelf: Shelf

    def __init__(self, decoder: Decoder, codec: Codec, settings: ServerSettings) -> None:
        self._decoder = decoder
        self._codec = codec
        self._settings = settings
        self._registry = self._queue_lengths()

    @asynccontextmanager
    async def lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        settings, loop = self._settings, asyncio.get_running_loop()
        self._worker = Worker(
            self._decoder, batch_size=settings.batch_size, max_loras=settings.max_loras, post=_poster(loop)
        )
        self._shelf = Shelf(
            self._worker,
            base_name=settings.base_name,
            base_root=settings.base_root,
            adapter_root=settings.adapter_root,
            offers=settings.offers,
        )
        self._worker.start()
        try:
            yield
        finally:
            await asyncio.to_thread(self._worker.stop, _STOP_SECONDS)

    async def complete(self, request: Request) -> Response:
        body = await _read(request, CompletionRequest)
        adapter = self._shelf.find(body.model)
        asked = [
            decoding(
                body,
                prompt,
                adapter=adapter,
                limits=self._settings.limits,
                max_tokens=body.max_tokens or _COMPLETION_TOKENS,
                top=body.logprobs or 0,
            )
            for prompt in prompts(body, self._codec)
        ]
        names = TokenNames(self._codec, as_ids=body.return_tokens_as_token_ids)
        readings = None if body.prompt_logprobs is None else await self._readings(asked, body.prompt_logprobs)
        rows = Rows(self._worker, self._codec, asked, body.stops)
        return await respond(request, body, rows, CompletionShape(names, body.logprobs, readings))

    async def _readings(self, asked: Sequence[Decoding], top: int) -> list[list[Document | None]]:
        futures = [self._worker.read(row.prompt, row.adapter, top=top) for row in asked]
        return [reading(await asyncio.wrap_future(future), self._codec) for future in futures]

    async def chat(self, request: Request) -> Response:
        body = await _read(request, ChatRequest)
        adapter = self._shelf.find(body.model)
        prompt = self._encode_chat(body.messages)
        limit = body.max_completion_tokens or body.max_tokens
        asked = decoding(
            body,
            prompt,
            adapter=adapter,
            limits=self._settings.limits,
            max_tokens=limit,
            top=body.top_logprobs,
        )
        names = TokenNames(self._codec, as_ids=body.return_tokens_as_token_ids)
        rows = Rows(self._worker, self._codec, [asked], body.stops)
        return await respond(request, body, rows, ChatShape(names, logprobs=body.logprobs))

    async def tokenize(self, request: Request) -> Response:
        body = await _read(request, TokenizeRequest)
        self._shelf.find(body.model)
        if body.messages is not None:
            tokens = self._encode_chat(body.messages)
        else:
            encode = self._codec.encode if body.add_special_tokens else self._codec.encode_continuation
            tokens = encode(body.prompt or "")
        length = self._settings.limits.context_length
        return JSONResponse({"count": len(tokens), "max_model_len": length, "tokens": tokens})

    def _encode_chat(self, turns: Sequence[ChatMessage]) -> tuple[int, ...]:
        messages = [Message(role=turn.role, content=turn.text) for turn in turns]
        try:
            return self._codec.encode_chat(messages)
        except Unreadable as error:
            raise bad_request(error.message, param="messages") from error

    async def models(self, _request: Request) -> Response:
        return JSONResponse({"object": "list", "data": self._shelf.entries()})

    async def load(self, request: Request) -> Response:
        body = await _read(request, LoadRequest)
        if body.load_inplace:
            raise bad_request("load_inplace is not supported: weights never change under a name")
        await self._shelf.load(body.lora_name, body.lora_path)
        return PlainTextResponse(f"Success: LoRA adapter '{body.lora_name}' added successfully.")

    async def unload(self, request: Request) -> Response:
        body = await _read(request, UnloadRequest)
        self._shelf.remove(body.lora_name)
        return PlainTextResponse(f"Success: LoRA adapter '{body.lora_name}' removed successfully.")

    async def health(self, _request: Request) -> Response:
        return Response(status_code=200 if self._worker.healthy else 503)

    async def version(self, _request: Request) -> Response:
        return JSONResponse({"version": __version__})

    async def metrics(self, _request: Request) -> Response:
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)

    def _queue_lengths(self) -> CollectorRegistry:
        """The two of vLLM's series that tell whether a server is idle, under vLLM's names."""
        registry = CollectorRegistry()
        lengths = {"running": lambda: self._worker.running, "waiting": lambda: self._worker.waiting}
        for state, length in lengths.items():
            gauge = Gauge(
                f"vllm:num_requests_{state}", f"Requests {state}", ["model_name"], registry=registry
            )
            gauge.labels(self._settings.base_name).set_function(length)
        return registry


def _poster(loop: asyncio.AbstractEventLoop) -> Post:
    def deliver(pieces: list[tuple[Sink, Piece | Failure]]) -> None:
        for sink, piece in pieces:
            sink(piece)

    def post(pieces: list[tuple[Sink, Piece | Failure]]) -> None:
        if pieces and not loop.is_closed():
            loop.call_soon_threadsafe(deliver, pieces)

    return post


async def _read(request: Request, kind: type[_Body]) -> _Body:
    """The body as a document. Raises Refusal: 400 if it is not JSON or does not fit, 413 if it is too large."""
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
        raise Refusal(400, "Bad Request", "1 validation error: content-type must be application/json")
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > _BODY_LIMIT:
            raise Refusal(413, "BadRequestError", f"the body is larger than {_BODY_LIMIT} bytes")
    try:
        return kind.model_validate_json(bytes(content))
    except ValidationError as error:
        raise not_valid(error) from error


async def _answer_http_error(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail = error.detail if isinstance(error, HTTPException) else "internal server error"
    return JSONResponse({"detail": detail}, status_code=status)
