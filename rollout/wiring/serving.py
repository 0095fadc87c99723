"""The gateway, in front of servers or inside of one."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rollout.core.environment import Environment

if TYPE_CHECKING:
    from rollout.gateway.openai import App
    from rollout.gateway.router import AdapterRouter
    from rollout.ports import FlagReader


def gateway_app(environment: Environment, root: Path, *, flags: FlagReader | None = None) -> AdapterRouter:
    """The stand-alone gateway of an environment, watching its routes and flags (or the `flags` given) already."""
    from rollout.gateway.proxy import Replica, Upstream

    upstream = Upstream([Replica(replica.name, replica.url) for replica in environment.replicas])
    return _adapter_router(upstream, environment, root, exclusive=True, and_then=upstream.close, flags=flags)


def engine_middleware(app: App, environment: Environment, root: Path) -> AdapterRouter:
    """The gateway inside an engine's own server, around `app`."""

    async def nothing() -> None:
        return

    return _adapter_router(app, environment, root, exclusive=False, and_then=nothing)


def _adapter_router(
    app: App,
    environment: Environment,
    root: Path,
    *,
    exclusive: bool,
    and_then: Callable[[], Awaitable[None]],
    flags: FlagReader | None = None,
) -> AdapterRouter:
    import asyncio

    from rollout.gateway.admin import Admin
    from rollout.gateway.contextkey import ContextKeys
    from rollout.gateway.holds import Holds
    from rollout.gateway.mirror import Mirror
    from rollout.gateway.router import AdapterRouter, VersionChooser
    from rollout.gateway.routes import RouteTable
    from rollout.gateway.telemetry import Telemetry
    from rollout.integrations.evaluator import FlagFileReader
    from rollout.integrations.routesfile import RoutesWatch
    from rollout.integrations.trafficlog import TrafficLogRecorder

    recorder = TrafficLogRecorder(root / environment.metrics.path)
    telemetry = Telemetry(recorder, salt=recorder.salt, rows_lost=lambda: recorder.dropped)
    flags = flags or FlagFileReader(root / environment.flags.path)
    table = RouteTable()
    routes = RoutesWatch(root / environment.routes, environment.name, table.accept)
    routes.start()
    holds = Holds((root / environment.routes).with_name("holds.json"))
    holds.start()
    mirror = Mirror(app, telemetry)

    async def close() -> None:
        await mirror.close()
        await and_then()
        routes.stop()
        holds.stop()
        flags.close()
        await asyncio.to_thread(recorder.close)

    return AdapterRouter(
        app,
        chooser=VersionChooser(
            table, flags, ContextKeys(environment.context_key), held=holds, token=_gateway_token(environment)
        ),
        telemetry=telemetry,
        mirror=mirror,
        admin=Admin(table, routes, flags, telemetry),
        settings=environment.gateway,
        exclusive=exclusive,
        on_shutdown=close,
    )


def _gateway_token(environment: Environment) -> str | None:
    """The token of the gateways' own pages: the value of the first variable that a gateway names and that is set."""
    for gateway in environment.gateways:
        if gateway.token_env and (token := os.environ.get(gateway.token_env)):
            return token
    return None
