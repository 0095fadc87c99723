"""The stand-alone gateway's upstream: an ASGI app that asks a replica over HTTP and passes its bytes on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rollout.gateway.openai import ClientLeftError, Headers, Receive, Scope, Send, error_body, read_body
from rollout.gateway.passage import FAILURE

if TYPE_CHECKING:
    import httpx

_DOWN_S = 1.0
_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
# vLLM takes an adapter's name from this header too; only the gateway chooses adapters.
_NEVER_FORWARDED = frozenset({b"host", b"x-amzn-sagemaker-adapter-identifier"})


@dataclass(slots=True)
class Replica:
    """One server behind the gateway, left alone for a second after it could not be reached."""

    name: str
    url: str
    down_until: float = field(default=0.0)


class Upstream:
    """ASGI app over the replicas: round robin, and one second try elsewhere while nothing has been sent."""

    def __init__(self, replicas: Sequence[Replica], *, read_timeout_s: float = 600.0) -> None:
        import httpx

        self._replicas = tuple(replicas)
        self._next = 0
        self._httpx = httpx
        self._client = httpx.AsyncClient(
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(connect=2.0, read=read_timeout_s, write=30.0, pool=10.0),
            # Shorter than any server's keep-alive, so that a connection is not reused as it is being closed.
            limits=httpx.Limits(max_connections=1000, max_keepalive_connections=100, keepalive_expiry=2.0),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; a client that leaves ends the request to the replica too."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        try:
            body = await read_body(receive)
        except ClientLeftError:
            return
        exchange = asyncio.ensure_future(self._exchange(scope, body, send))
        departure = asyncio.ensure_future(_departure(receive))
        try:
            await asyncio.wait((exchange, departure), return_when=asyncio.FIRST_COMPLETED)
            if exchange.done():
                exchange.result()
        finally:
            departure.cancel()
            exchange.cancel()
            await asyncio.gather(exchange, departure, return_exceptions=True)

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def _exchange(self, scope: Scope, body: bytes, send: Send) -> None:
        try:
            response = await self._ask(scope, body)
        except self._httpx.HTTPError as error:
            await _fail(send, f"no replica answered: {type(error).__name__}")
            return
        try:
            headers = _end_to_end([(key.lower(), value) for key, value in response.headers.raw])
            await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
            async for chunk in response.aiter_raw():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except self._httpx.HTTPError:
            # The head is out. Ending without the last part makes the server close the client's connection,
            # which is the one way left to say that the answer is not whole.
            return
        finally:
            await response.aclose()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _ask(self, scope: Scope, body: bytes) -> httpx.Response:
        first = self._pick()
        try:
            return await self._send(first, scope, body)
        except (self._httpx.ConnectError, self._httpx.ConnectTimeout):
            first.down_until = time.monotonic() + _DOWN_S
            second = self._pick()
            if second is first:
                raise
        try:
            return await self._send(second, scope, body)
        except (self._httpx.ConnectError, self._httpx.ConnectTimeout):
            second.down_until = time.monotonic() + _DOWN_S
            raise

    async def _send(self, replica: Replica, scope: Scope, body: bytes) -> httpx.Response:
        base = self._httpx.URL(replica.url)
        path = base.raw_path.rstrip(b"/") + scope["path"].encode()
        if query := scope.get("query_string"):
            path += b"?" + query
        url = base.copy_with(raw_path=path)
        headers = [pair for pair in _end_to_end(scope["headers"]) if pair[0] not in _NEVER_FORWARDED]
        headers.append((b"host", url.netloc))
        request = self._httpx.Request(scope["method"], url, headers=headers, content=body)
        return await self._client.send(request, stream=True)

    def _pick(self) -> Replica:
        """The next replica that is not known to be down; if all are, simply the next."""
        count = len(self._replicas)
        order = [self._replicas[(self._next + step) % count] for step in range(count)]
        now = time.monotonic()
        chosen = next((replica for replica in order if replica.down_until <= now), order[0])
        self._next = (self._replicas.index(chosen) + 1) % count
        return chosen


async def _departure(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _fail(send: Send, failure: str) -> None:
    body = error_body(502, "No server answered. Please try again.", code="upstream_unavailable")
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 502, "headers": headers, FAILURE: failure})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _end_to_end(headers: Headers) -> Headers:
    named = {
        token.strip().lower() for key, value in headers if key == b"connection" for token in value.split(b",")
    }
    return [(key, value) for key, value in headers if key not in _HOP_BY_HOP and key not in named]


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        else:
            await send({"type": "lifespan.shutdown.complete"})
            return
