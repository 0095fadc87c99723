"""A small real OpenAI-compatible server on loopback, whose speed and failures a test can choose."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn


@dataclass
class Behaviour:
    """How one served model answers."""

    text: str = '{"intent": "billing"}'
    status: int = 200
    delay_s: float = 0.0
    token_delay_s: float = 0.0
    break_after: int | None = None
    linger_s: float = 0.0


@dataclass
class FakeUpstream:
    """Speaks `/v1/chat/completions` and `/v1/completions`, whole and streamed; 404 for models it does not have.

    It `lists` its models to whoever asks, as an engine does. `paths` are what was posted to, `pages` what was read.
    """

    models: dict[str, Behaviour] = field(default_factory=dict)
    seen: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    pages: list[str] = field(default_factory=list)
    lists: bool = True
    raw: bytes | None = None  # answered to everyone instead of what the model says
    left: int = 0
    busy: int = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        (self.pages if scope["method"] == "GET" else self.paths).append(scope["path"])
        if self.lists and scope["path"] == "/v1/models":
            await _answer(send, 200, json.dumps({"data": [{"id": name} for name in self.models]}).encode())
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        if not body:
            await _answer(send, 200, b"{}")
            return
        request = json.loads(body)
        self.seen.append(request)
        self.headers.append({key.decode(): value.decode("latin-1") for key, value in scope["headers"]})
        behaviour = self.models.get(request["model"])
        if behaviour is None:
            message = f"The model `{request['model']}` does not exist."
            error = {"error": {"message": message, "type": "NotFoundError", "code": 404}}
            await _answer(send, 404, json.dumps(error).encode())
            return
        self.busy += 1
        work = asyncio.ensure_future(self._respond(scope["path"], request, behaviour, send))
        gone = asyncio.ensure_future(_gone(receive))
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            self.left += 1
        work.cancel()
        gone.cancel()
        await asyncio.gather(work, gone, return_exceptions=True)
        self.busy -= 1

    async def _respond(self, path: str, request: dict[str, Any], behaviour: Behaviour, send: Any) -> None:
        await asyncio.sleep(behaviour.delay_s)
        if self.raw is not None:
            await _answer(send, 200, self.raw, b"text/event-stream" if request.get("stream") else _JSON)
        elif behaviour.status != 200:
            await _answer(send, behaviour.status, json.dumps({"error": {"message": behaviour.text}}).encode())
        elif request.get("stream"):
            await self._stream(path, request, behaviour, send)
        else:
            await _answer(send, 200, self.whole(path, request["model"], behaviour.text))

    def whole(self, path: str, model: str, text: str) -> bytes:
        chat = path.endswith("chat/completions")
        choice = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        usage = {"prompt_tokens": 3, "completion_tokens": len(text), "total_tokens": 3 + len(text)}
        return json.dumps(
            {"model": model, "choices": [{"index": 0, **choice, "finish_reason": "stop"}], "usage": usage}
        ).encode()

    def events(self, path: str, model: str, text: str) -> list[bytes]:
        chat = path.endswith("chat/completions")
        parts: list[dict[str, Any]] = [
            {"delta": {"content": char}} if chat else {"text": char} for char in text
        ]
        parts.append(
            {"delta": {}, "finish_reason": "stop"} if chat else {"text": "", "finish_reason": "stop"}
        )
        events = [{"model": model, "choices": [{"index": 0, **part}]} for part in parts]
        return [b"data: " + json.dumps(event).encode() + b"\n\n" for event in events] + [b"data: [DONE]\n\n"]

    async def _stream(self, path: str, request: dict[str, Any], behaviour: Behaviour, send: Any) -> None:
        headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for number, event in enumerate(self.events(path, request["model"], behaviour.text)):
            if behaviour.break_after == number:
                return
            await send({"type": "http.response.body", "body": event, "more_body": True})
            await asyncio.sleep(behaviour.token_delay_s)
        await asyncio.sleep(behaviour.linger_s)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """Serve an ASGI app on a free loopback port; gives its URL."""
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, log_level="critical", timeout_graceful_shutdown=2, lifespan="on"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise RuntimeError("the server did not start")
        threading.Event().wait(0.005)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=10)


async def _gone(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


_JSON = b"application/json"


async def _answer(send: Any, status: int, body: bytes, media_type: bytes = _JSON) -> None:
    headers = [(b"content-type", media_type), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _lifespan(receive: Any, send: Any) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
