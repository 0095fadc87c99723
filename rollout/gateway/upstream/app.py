"""The ASGI app that asks a replica, and the next one where nothing was begun, and passes its answer on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Container
from contextlib import suppress

import aiohttp

from rollout.gateway.copying import SHADOW
from rollout.gateway.openai import Receive, Scope, Send, end_to_end, error_body
from rollout.gateway.passage import COLD, FAILURE, NOT_LOADED, REPLICA, SERVED, TIMED_OUT
from rollout.gateway.upstream.checks import Checks
from rollout.gateway.upstream.exchange import NoAnswerError, UnreachableError, ask, open_session
from rollout.gateway.upstream.pool import Pool, Replica

_NOT_FOUND = 404
_TOLD_BYTES = 4096
_ABSENCE = (b"does not exist", b"not found", b"NotFoundError", b"model_not_found")
_FAILED = 500


class Upstream:
    """ASGI app over the replicas of `pool`, which it checks from its startup until `close`.

    A request whose adapter comes to be `held` while a replica is sought for it goes to none. One that was held
    before is whoever sent it that way to know: holds keep back candidates, and no stable.
    """

    def __init__(
        self, pool: Pool, *, read_timeout_s: float = 600.0, held: Container[str | None] = ()
    ) -> None:
        self.pool = pool
        self._held = held
        self._read_timeout_s = read_timeout_s
        # Copies have connections of their own: a candidate that closes them costs users none of theirs.
        self._open: dict[bool, aiohttp.ClientSession] = {}
        self._checks: Checks | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; a client that leaves ends the request to the replica too."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send, self._start)
            return
        body = await _whole(receive)
        if body is not None:
            await _unless_the_client_leaves(receive, self._answer(scope, body, send))

    async def close(self) -> None:
        """End the checks and close all connections."""
        if self._checks is not None:
            await self._checks.stop()
        for session in self._open.values():
            await session.close()

    def _session(self, *, copies: bool) -> aiohttp.ClientSession:
        if copies not in self._open:
            self._open[copies] = open_session(self._read_timeout_s)
        return self._open[copies]

    def _start(self) -> None:
        self._checks = Checks(self.pool, self._session(copies=False))

    async def _answer(self, scope: Scope, body: bytes, send: Send) -> None:
        served = scope.get(SERVED)
        failure = NoAnswerError("there is none")
        order = self.pool.order(served)
        was_held = served in self._held
        for replica in order:
            if served in self._held and not was_held:
                failure = NoAnswerError("the adapter is held")
                break
            self.pool.take(replica, served)
            try:
                if await self._pass(replica, served, scope, body, send, last=replica is order[-1]):
                    return
            except UnreachableError as error:
                replica.missed(str(error), at_once=True)
                failure = error
            except NoAnswerError as error:
                # It may have begun: not every request can be repeated.
                replica.failed(served, self.pool.clock())
                await _fail(send, error, replica)
                return
            finally:
                replica.outstanding -= 1
        await _fail(send, failure, None)

    async def _pass(
        self, replica: Replica, served: str | None, scope: Scope, body: bytes, send: Send, *, last: bool
    ) -> bool:
        """Ask one replica; False if it has not the adapter, and another one may."""
        session = self._session(copies=any(key == SHADOW for key, _ in scope["headers"]))
        answer = await ask(session, replica.address, scope, body)
        try:
            told, lacking = b"", False
            if answer.status == _NOT_FOUND and served is not None:
                told = await _beginning(answer)
                lacking = _says_that_it_lacks(told, served)
            if lacking:
                # Started anew, perhaps, and not yet given its adapters again.
                replica.lacks(str(served))
                if not last:
                    return False
            if not 200 <= answer.status <= 599:
                raise NoAnswerError(f"{answer.status} is no status of HTTP")
            if answer.status >= _FAILED:
                replica.failed(served, self.pool.clock())
            else:
                replica.recovered(served)
            origin = _origin(replica, served, answer.status)
            await _deliver(answer, {**origin, NOT_LOADED: True} if lacking else origin, told, send)
        finally:
            answer.close()
        return True


def _origin(replica: Replica, served: str | None, status: int) -> dict[str, object]:
    """What the start message says of the replica."""
    name = {REPLICA: replica.address.name}
    if served is None:
        return {**name}
    cold = replica.answered(served) if 200 <= status <= 299 else replica.is_cold(served)
    return {**name, COLD: cold}


async def _beginning(answer: aiohttp.ClientResponse) -> bytes:
    """The first bytes of an answer, enough to know an error by; what cannot be read is missed when it is delivered."""
    told = b""
    with suppress(aiohttp.ClientError, TimeoutError):
        while len(told) < _TOLD_BYTES and (part := await answer.content.read(_TOLD_BYTES - len(told))):
            told += part
    return told


def _says_that_it_lacks(told: bytes, served: str) -> bool:
    """Any server that lacks an adapter names it; one that lacks a route, or some stored answer, does not."""
    return served.encode() in told and any(word in told for word in _ABSENCE)


async def _deliver(
    answer: aiohttp.ClientResponse, origin: dict[str, object], told: bytes, send: Send
) -> None:
    # A slow client stops `send`, that stops the reading here, and the replica waits once its share of the
    # buffers is full.
    headers = end_to_end([(key.lower(), value) for key, value in answer.raw_headers])
    await send({"type": "http.response.start", "status": answer.status, "headers": headers, **origin})
    if told:
        await send({"type": "http.response.body", "body": told, "more_body": True})
    content, more = answer.content, True
    while more:
        try:
            chunk = await content.readany()
        except (aiohttp.ClientError, TimeoutError):
            # The head is out. Ending without the last part makes the server close the client's connection,
            # which is the one way left to say that the answer is not whole.
            return
        more = bool(chunk) and not content.at_eof()
        await send({"type": "http.response.body", "body": chunk, "more_body": more})


async def _fail(send: Send, failure: NoAnswerError, replica: Replica | None) -> None:
    silent = failure.timed_out
    status, code = (504, "upstream_timeout") if silent else (502, "upstream_unavailable")
    body = error_body(status, "No server answered. Please try again.", code=code)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    told = {FAILURE: f"no replica answered: {failure}", TIMED_OUT: silent}
    if replica is not None:
        told[REPLICA] = replica.address.name
    await send({"type": "http.response.start", "status": status, "headers": headers, **told})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def _unless_the_client_leaves(receive: Receive, work: Awaitable[None]) -> None:
    """Do the work; it is broken off, and nothing is raised, as soon as its client is gone."""
    worker = asyncio.current_task()
    assert worker is not None
    over = left = False

    def leave(_: asyncio.Task[None]) -> None:
        nonlocal left
        if not over:
            left = True
            worker.cancel()

    departure = asyncio.create_task(_departure(receive))
    departure.add_done_callback(leave)
    before = worker.cancelling()
    try:
        await work
    except asyncio.CancelledError:
        if not left or worker.uncancel() > before:
            raise
    finally:
        over = True
        departure.cancel()


async def _whole(receive: Receive) -> bytes | None:
    """The body, which the router gives in one piece: that is not copied. None if the client left before its end."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


async def _departure(receive: Receive) -> None:
    with suppress(Exception):  # whoever cannot be heard any more is gone
        while (await receive())["type"] != "http.disconnect":
            pass


async def _lifespan(receive: Receive, send: Send, on_startup: Callable[[], None]) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            on_startup()
            await send({"type": "lifespan.startup.complete"})
        else:
            await send({"type": "lifespan.shutdown.complete"})
            return
