"""What SDKs ask for: the stream, polling, and where they say what was evaluated."""

from __future__ import annotations

import asyncio
import json
import zlib
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from rollout.flagserver.book import Json
from rollout.flagserver.desk import Desk
from rollout.flagserver.refusal import Refusal, invalid

_LARGEST_EVENTS: Final = 16 * 1024 * 1024


class SdkPages:
    """`/all`, `/sdk/latest-all`, `/bulk`, `/diagnostic`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[Route]:
        """The routes."""
        return [
            Route("/all", self.stream, methods=["GET"]),
            Route("/sdk/latest-all", self.latest, methods=["GET"]),
            Route("/bulk", self.events, methods=["POST"]),
            Route("/diagnostic", self.diagnostic, methods=["POST"]),
        ]

    async def stream(self, request: Request) -> Response:
        """Everything, then each change. Chunked: an SDK would wait for the end of anything else."""
        self._desk.access.require_sdk_key(request)
        if self._desk.faults.take(("refuse-stream",), write=False):
            raise Refusal(503, "The stream is refused.")
        events = self._desk.broadcast.events(self._everything)
        return StreamingResponse(
            events, media_type="text/event-stream", headers={"Cache-Control": "no-cache", **self._which()}
        )

    async def latest(self, request: Request) -> Response:
        """Everything, once; 304 for whoever has it already."""
        self._desk.access.require_sdk_key(request)
        answer = JSONResponse(self._everything(), headers=self._which())
        etag = f'"{zlib.crc32(answer.body):08x}"'
        if request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers={"ETag": etag, **self._which()})
        answer.headers["ETag"] = etag
        return answer

    async def events(self, request: Request) -> Response:
        """What was evaluated: only its summaries are kept, and of those no user."""
        self._desk.access.require_sdk_key(request)
        last: dict[str, Json] = {}
        for event in _events(await request.body(), request.headers.get("content-encoding", "")):
            features = event.get("features") if event.get("kind") == "summary" else None
            for key, seen in features.items() if isinstance(features, dict) else ():
                last[key] = seen if isinstance(seen, dict) else {}
        for key, seen in last.items():
            await self._saw(key, seen)
        return Response(status_code=202)

    async def diagnostic(self, request: Request) -> Response:
        """How the SDK is doing: taken and forgotten."""
        self._desk.access.require_sdk_key(request)
        await request.body()
        return Response(status_code=202)

    async def _saw(self, key: str, seen: Json) -> None:
        if self._desk.keeping.book.flag(key) is not None:
            await asyncio.to_thread(self._desk.keeping.saw_evaluation, key, seen)

    def _everything(self) -> Json:
        keeping = self._desk.keeping
        segments = keeping.book.rest.get("segments")
        return {"flags": keeping.flags, "segments": segments if isinstance(segments, dict) else {}}

    def _which(self) -> dict[str, str]:
        return {"X-LD-EnvID": str(self._desk.keeping.book.environment["id"])}


def _events(content: bytes, encoding: str) -> list[Json]:
    try:
        if encoding == "gzip":
            content = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(content, _LARGEST_EVENTS)
        found: Any = json.loads(content)
    except (ValueError, zlib.error, RecursionError) as error:
        raise invalid("The events are not JSON.") from error
    return [event for event in found if isinstance(event, dict)] if isinstance(found, list) else []
