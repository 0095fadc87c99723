"""What every gateway is measured against: an upstream that costs next to nothing, and one small ASGI app.

    python -m tests.benchmarks.fast raw [--candidate answers|hangs-up|is-silent] [--after-ms 0]
    python -m tests.benchmarks.fast app [--wrapped]

Each prints its URL and serves until it is killed. `--wrapped` puts our middleware around the app.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
from typing import Any

from tests.support.gateway import CANDIDATE, STABLE

ANSWERS = {
    model.encode(): json.dumps(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": model,
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": '{"intent": "billing"}'},
                    "finish_reason": "stop",
                }
            ],
            "usage": {"prompt_tokens": 12, "completion_tokens": 7, "total_tokens": 19},
        }
    ).encode()
    for model in (STABLE, CANDIDATE)
}
MODELS = json.dumps({"object": "list", "data": [{"id": STABLE}, {"id": CANDIDATE}]}).encode()


class Raw(asyncio.Protocol):
    """HTTP just as far as these clients speak it."""

    def __init__(self, candidate: str, after_ms: float) -> None:
        self._candidate = candidate
        self._after_s = after_ms / 1000
        self._said = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer every request that is whole."""
        self._said += data
        while (end := self._said.find(b"\r\n\r\n")) >= 0:
            head = self._said[:end].lower()
            at = head.find(b"content-length:")
            size = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._said) < end + 4 + size:
                return
            body, self._said = self._said[end + 4 : end + 4 + size], self._said[end + 4 + size :]
            self._answer(head, body)

    def _answer(self, head: bytes, body: bytes) -> None:
        if self._candidate != "answers" and CANDIDATE.encode() in body:
            if self._candidate == "hangs-up":
                self._transport.close()
            return
        told = MODELS if head.startswith(b"get /v1/models") else _answer_to(body)
        whole = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
            len(told),
            told,
        )
        if self._after_s:
            asyncio.get_running_loop().call_later(self._after_s, self._transport.write, whole)
        else:
            self._transport.write(whole)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """The same answer from an ASGI app, as an engine's own server gives it."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    body = b""
    while (message := await receive()).get("more_body", False):
        body += message["body"]
    answer = _answer_to(body + message.get("body", b""))
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


def _answer_to(body: bytes) -> bytes:
    """That of the model which is asked: an answer of another one counts as an error."""
    return ANSWERS[CANDIDATE.encode() if CANDIDATE.encode() in body else STABLE.encode()]


def main() -> None:
    """Serve one of them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=("raw", "app"))
    parser.add_argument("--candidate", default="answers", choices=("answers", "hangs-up", "is-silent"))
    parser.add_argument("--after-ms", type=float, default=0)
    parser.add_argument("--wrapped", action="store_true")
    options = parser.parse_args()
    listening = socket.create_server(("127.0.0.1", 0), backlog=4096)
    print(f"http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
    import uvloop

    uvloop.run(
        _raw(listening, options.candidate, options.after_ms)
        if options.kind == "raw"
        else _app(listening, wrapped=options.wrapped)
    )


async def _raw(listening: socket.socket, candidate: str, after_ms: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Raw(candidate, after_ms), sock=listening)
    await server.serve_forever()


async def _app(listening: socket.socket, *, wrapped: bool) -> None:
    import uvicorn

    from rollout.middleware import AdapterRouter

    served: Any = AdapterRouter(app) if wrapped else app
    config = uvicorn.Config(served, http="httptools", log_level="error", access_log=False, lifespan="on")
    await uvicorn.Server(config).serve([listening])


if __name__ == "__main__":
    main()
