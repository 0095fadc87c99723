"""Serves the gateway's app on one or two sockets until it is told to end, and ends without losing a request."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import uvicorn

from rollout.errors import Unavailable
from rollout.gateway.connection import Connection, Patience
from rollout.gateway.doors import Doors
from rollout.gateway.openai import App

_PAGES_DRAIN_S = 2
_BACKLOG = 4096
_ENDLESS_FILES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """How a gateway ends: `delay_s` while it says so and still serves, then `timeout_s` for what is under way."""

    delay_s: float = 0.0
    timeout_s: int = 30


class _Server(uvicorn.Server):
    """Signals are ours: uvicorn would raise them again, and knows of no second server."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def raise_file_limit() -> int:
    """Allow this process as many open files as the system lets it have; the answer is how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return _ENDLESS_FILES if hard == resource.RLIM_INFINITY else hard


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises Unavailable."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except (OSError, UnicodeError) as error:
        raise Unavailable(
            f"cannot listen on {host}:{port}: {getattr(error, 'strerror', None) or 'no such address'}",
            advice="Take another port, or end what listens there; --host must be an address of this machine.",
        ) from None


async def serve(
    app: App,
    main: socket.socket,
    pages: socket.socket | None,
    *,
    patience: Patience,
    drain: Drain,
    on_ready: Callable[[], None],
) -> None:
    """Serve `app` on `main` until SIGTERM or SIGINT; with `pages`, the gateway's own pages are there and only there."""
    doors = Doors(app, apart=pages is not None)
    public = _server(doors.public, patience, drain.timeout_s, lifespan="on")
    loop = asyncio.get_running_loop()
    for ending in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(ending, _end, public, doors, drain.delay_s)
    private = _server(doors.private, patience, _PAGES_DRAIN_S, lifespan="off")
    beside = None if pages is None else asyncio.create_task(private.serve([pages]))
    announced = asyncio.create_task(_announce([public, *([private] if beside else [])], on_ready))
    try:
        await public.serve([main])
    finally:
        announced.cancel()
        private.should_exit = True
        if beside is not None:
            await beside


def _server(app: App, patience: Patience, drain_s: int, *, lifespan: str) -> _Server:
    config = uvicorn.Config(
        app,
        http=functools.partial(Connection, patience=patience),  # type: ignore[arg-type]
        ws="none",
        log_level="error",
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=patience.idle_s,
        timeout_graceful_shutdown=drain_s,
        lifespan=lifespan,  # type: ignore[arg-type]
        interface="asgi3",
    )
    return _Server(config)


async def _announce(servers: list[_Server], on_ready: Callable[[], None]) -> None:
    while not all(server.started for server in servers):
        await asyncio.sleep(0.01)
    # What was made so far stays: a collection that walks through it would only delay requests.
    gc.freeze()
    on_ready()


def _end(server: _Server, doors: Doors, delay_s: float) -> None:
    """The first signal begins the delay, the second one ends it, and the third one ends the requests too."""
    if server.should_exit:
        server.force_exit = True
    elif doors.draining:
        server.should_exit = True
    else:
        doors.draining = True

        def close() -> None:
            server.should_exit = True

        asyncio.get_running_loop().call_later(delay_s, close)
