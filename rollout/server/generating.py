"""From a request's body to rows, and from rows to an answer or a stream."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from rollout.core.generation import Decoding
from rollout.server.decoder import Codec
from rollout.server.errors import Refusal, bad_request
from rollout.server.requests import ChatRequest, CompletionRequest, Sampling
from rollout.server.rows import Rows
from rollout.server.shapes import Document, Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the model can hold."""

    context_length: int
    vocabulary: int


def prompts(body: CompletionRequest, codec: Codec) -> list[tuple[int, ...]]:
    """The prompts of a completion request as tokens, one a choice."""
    given = body.prompt
    several = isinstance(given, list) and not isinstance(given[0], int)
    parts: Sequence[object] = given if several and isinstance(given, list) else [given]
    return [codec.encode(part) if isinstance(part, str) else tuple(part) for part in parts]  # type: ignore[arg-type]


def decoding(
    body: Sampling,
    prompt: tuple[int, ...],
    *,
    adapter: str | None,
    limits: Limits,
    max_tokens: int | None,
    top: int,
) -> Decoding:
    """One row. Without `max_tokens` the rest of the context is the limit. Raises Refusal if it does not fit."""
    if not prompt:
        raise bad_request("The prompt is empty.", param="prompt")
    if max(prompt) >= limits.vocabulary:
        raise bad_request(f"Token id {max(prompt)} is out of vocabulary", param="prompt")
    room = limits.context_length - len(prompt)
    wanted = max(room, 1) if max_tokens is None else max_tokens
    if wanted > room:
        raise bad_request(
            f"This model's maximum context length is {limits.context_length} tokens. However, you requested "
            f"{wanted} output tokens and your prompt contains {len(prompt)} input tokens."
        )
    return Decoding(
        prompt=prompt,
        adapter=adapter,
        max_tokens=wanted,
        temperature=1.0 if body.temperature is None else body.temperature,
        top_p=1.0 if body.top_p is None else body.top_p,
        seed=secrets.randbits(63) if body.seed is None else body.seed,
        top_logprobs=min(top, limits.vocabulary),
        ignore_end=body.ignore_eos,
    )


async def respond(
    request: Request, body: CompletionRequest | ChatRequest, rows: Rows, shape: Shape
) -> Response:
    """The answer, whole or as a stream. A client that leaves frees its rows."""
    head = {"id": f"{shape.prefix}-{secrets.token_hex(12)}", "created": int(time.time()), "model": body.model}
    if body.stream:
        usage = body.stream_options is not None and body.stream_options.include_usage
        head["object"] = shape.chunk_object
        return _RowStream(rows, _events(rows, shape, head, usage=usage))
    await _finish_while_connected(request, rows)
    choices = [shape.whole(choice) for choice in rows.choices]
    return JSONResponse({**head, "object": shape.whole_object, "choices": choices, "usage": rows.usage()})


async def _finish_while_connected(request: Request, rows: Rows) -> None:
    work = asyncio.ensure_future(rows.finish())
    leaving = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({work, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise Refusal(499, "ClientClosedRequest", "the client left")
        work.result()
    finally:
        work.cancel()
        leaving.cancel()
        rows.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _events(rows: Rows, shape: Shape, head: Document, *, usage: bool) -> AsyncIterator[str]:
    def event(choices: list[Document], counts: dict[str, int] | None = None) -> str:
        document = {**head, "choices": choices}
        if usage:
            document["usage"] = counts
        return f"data: {json.dumps(document, separators=(',', ':'), ensure_ascii=False)}\n\n"

    try:
        openings = [shape.opening(choice) for choice in rows.choices]
        if any(openings):
            yield event([opening for opening in openings if opening is not None])
        async for choice, piece in rows.pieces():
            chunk = shape.chunk(choice, piece.text)
            if chunk is not None:
                yield event([chunk])
        if usage:
            yield event([], rows.usage())
    except Refusal as refusal:  # the status line is gone: tell it in the stream, as vLLM does
        yield f"data: {json.dumps(refusal.document())}\n\n"
    yield "data: [DONE]\n\n"


class _RowStream(StreamingResponse):
    """A stream that frees its rows however it ends."""

    def __init__(self, rows: Rows, events: AsyncIterator[str]) -> None:
        super().__init__(events, media_type="text/event-stream", headers={"cache-control": "no-cache"})
        self._rows = rows

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._rows.cancel()
