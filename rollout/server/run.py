"""Runs the application until it is told to stop."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

import uvicorn
from starlette.types import ASGIApp

# What runs may finish after a SIGTERM, but a client that never ends must not keep the process.
_GRACE_SECONDS = 5


def run(
    app: ASGIApp,
    *,
    host: str,
    port: int,
    ready: Callable[[str], None] = lambda _: None,
    leaving: Callable[[], None] = lambda: None,
    grace_s: int = _GRACE_SECONDS,
    **settings: Any,
) -> bool:
    """Serve until SIGTERM or SIGINT; port 0 takes a free one. The answer is whether it ever was ready.

    One line, `ready on http://...`, goes to standard error when requests are answered, and `ready` is given the
    URL. `leaving` is called before runs may finish, within `grace_s`: what would never end must end then. A second
    signal does not wait for them. `settings` are uvicorn's.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        lifespan="on",
        timeout_graceful_shutdown=grace_s,
        timeout_keep_alive=75,  # above the idle time of a gateway's pool, so that it closes first
        server_header=False,
        **settings,
    )
    server = _AnnouncedServer(config, ready, leaving)

    def leave(*_: object) -> None:
        server.force_exit = server.should_exit
        server.should_exit = True

    # uvicorn stops in order at the signal and then raises it again for whoever had it before: that is us, so
    # that an orderly stop ends with status 0.
    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    server.run()
    return server.started


class _AnnouncedServer(uvicorn.Server):
    def __init__(
        self, config: uvicorn.Config, ready: Callable[[str], None], leaving: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._ready = ready
        self._leaving = leaving

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            address = self.servers[0].sockets[0].getsockname()
            url = _url(address, "https" if self.config.is_ssl else "http")
            print(f"ready on {url}", file=sys.stderr, flush=True)
            self._ready(url)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._leaving()
        await super().shutdown(sockets)


def _url(address: Any, scheme: str) -> str:
    host, port = address[0], address[1]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
