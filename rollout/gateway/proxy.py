"""The stand-alone gateway's upstream: an ASGI app that asks a replica over HTTP and passes its bytes on."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rollout.gateway.openai import ClientLeftError, Receive, Scope, Send, end_to_end, error_body, read_body
from rollout.gateway.passage import FAILURE

if TYPE_CHECKING:
    import httpx

_DOWN_S = 1.0
_NOT_LOADED = 404


@dataclass(slots=True)
class Replica:
    """One server behind the gateway, left alone for a second after it could not be reached."""

    name: str
    url: str
    down_until: float = field(default=0.0)


class Upstream:
    """ASGI app over the replicas: round robin, and the next one if one is not there or lacks the adapter."""

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
            body = await read_body(receive, largest=sys.maxsize, pause_s=3600)
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
        if not 200 <= response.status_code <= 599:
            await response.aclose()
            await _fail(send, f"a replica answered {response.status_code}, which is no status of HTTP")
            return
        try:
            headers = end_to_end([(key.lower(), value) for key, value in response.headers.raw])
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
        """Once a replica may have begun an answer, no other one is asked: not every request can be repeated."""
        failure: httpx.HTTPError | None = None
        order = self._order()
        for replica in order:
            try:
                response = await self._send(replica, scope, body)
            except (self._httpx.ConnectError, self._httpx.ConnectTimeout) as error:
                replica.down_until = time.monotonic() + _DOWN_S
                failure = error
                continue
            if response.status_code != _NOT_LOADED or replica is order[-1]:
                return response
            # Started anew, perhaps, and not yet given its adapters again.
            await response.aclose()
        assert failure is not None
        raise failure

    async def _send(self, replica: Replica, scope: Scope, body: bytes) -> httpx.Response:
        base = self._httpx.URL(replica.url)
        path = base.raw_path.rstrip(b"/") + scope["path"].encode()
        if query := scope.get("query_string"):
            path += b"?" + query.replace(b"#", b"%23")  # uvicorn lets one through, and httpx does not
        url = base.copy_with(raw_path=path)
        headers = [(key, value) for key, value in scope["headers"] if key != b"host"] + [
            (b"host", url.netloc)
        ]
        request = self._httpx.Request(scope["method"], url, headers=headers, content=body)
        return await self._client.send(request, stream=True)

    def _order(self) -> list[Replica]:
        """All replicas, each in its turn, those that are known to be down behind the others."""
        turned = self._replicas[self._next :] + self._replicas[: self._next]
        now = time.monotonic()
        order = sorted(turned, key=lambda replica: replica.down_until > now)
        self._next = (self._replicas.index(order[0]) + 1) % len(self._replicas)
        return order


async def _departure(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _fail(send: Send, failure: str) -> None:
    body = error_body(502, "No server answered. Please try again.", code="upstream_unavailable")
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 502, "headers": headers, FAILURE: failure})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        else:
            await send({"type": "lifespan.shutdown.complete"})
            return
