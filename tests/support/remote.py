"""Guarded pages of gateways over real sockets, as a runner elsewhere reaches them."""

from __future__ import annotations

import atexit
import functools
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rollout.bearer import Bearer
from rollout.gateway.guard import GuardedPages
from rollout.gateway.holds import Holds
from rollout.gateway.logpages import LogPages
from rollout.gateway.openai import send_bytes
from rollout.gateway.routes import RouteTable
from rollout.integrations.evaluator import FlagFileReader
from rollout.integrations.gateways import GatewayClient
from rollout.integrations.routesfile import RoutesWatch
from rollout.integrations.trafficlog import TrafficLog
from rollout.wiring.pages import guarded_pages
from tests.support.gateway import environment
from tests.support.upstream import _lifespan, serving

TOKEN = "s3cret-of-the-gateway"
_numbers = itertools.count()


class _Front:
    """One server for the whole test process; the first part of a path says whose pages are asked."""

    def __init__(self) -> None:
        self.apps: dict[str, GuardedPages] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        _, mine, rest = scope["path"].split("/", 2)
        pages = self.apps.get(mine)
        if pages is None or not pages.has(f"/{rest}"):
            await send_bytes(send, 404, b"{}")
        else:
            await pages.answer({**scope, "path": f"/{rest}"}, receive, send)


_front = _Front()


@functools.cache
def _url() -> str:
    server = serving(_front)
    atexit.register(server.__exit__, None, None, None)
    return server.__enter__()


def _client(pages: GuardedPages, name: str) -> GatewayClient:
    mine = f"pages{next(_numbers)}"
    _front.apps[mine] = pages
    return GatewayClient(name, f"{_url()}/{mine}", timeout_s=30, token=TOKEN)


@contextmanager
def silent(client: GatewayClient) -> Iterator[None]:
    """A gateway that is away for a while."""
    mine = client.url.rsplit("/", 1)[1]
    pages = _front.apps.pop(mine)
    try:
        yield
    finally:
        _front.apps[mine] = pages


def log_client(path: Path, *, name: str = "g0") -> GatewayClient:
    """A client of the pages over a traffic log."""
    log = TrafficLog(path)
    pages = LogPages(log, log).pages
    return _client(GuardedPages(Bearer(TOKEN), pages, on_denied=lambda _: None), name)


def pages_client(root: Path, *, name: str = "g0") -> GatewayClient:
    """A client of all guarded pages of a gateway over a folder, which watches nothing by itself."""
    table = RouteTable()
    routes = RoutesWatch(root / "routes.json", "test", table.accept)
    routes.look()
    pages = guarded_pages(
        environment("http://127.0.0.1:9"),
        root,
        Bearer(TOKEN),
        table=table,
        routes=routes,
        flags=FlagFileReader(root / "flags.json"),
        holds=Holds(root / "holds.json"),
        on_denied=lambda _: None,
    )
    return _client(pages, name)
