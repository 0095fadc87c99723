"""The gateway, in front of servers or inside of one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rollout.bearer import Bearer, token_from
from rollout.core.environment import Environment

if TYPE_CHECKING:
    from rollout.core.routes import Routes
    from rollout.gateway.holds import Holds
    from rollout.gateway.openai import App
    from rollout.gateway.router import AdapterRouter
    from rollout.gateway.routes import RouteTable
    from rollout.ports import FlagReader


def gateway_app(
    environment: Environment, root: Path, *, name: str | None = None, flags: FlagReader | None = None
) -> AdapterRouter:
    """The stand-alone gateway of an environment, watching its routes and flags (or the `flags` given) already.

    The one called `name` takes its own token and no other, if that is set.
    """
    from rollout.gateway.holds import Holds
    from rollout.gateway.upstream import Upstream
    from rollout.wiring.replicas import replica_figures, watched_pool

    pool, watch = watched_pool(environment, root)
    watch.start()
    holds = Holds(root / environment.holds)
    upstream = Upstream(pool, read_timeout_s=environment.gateway.read_timeout_s, held=holds)

    async def close() -> None:
        watch.stop()
        await upstream.close()

    return _adapter_router(
        upstream,
        environment,
        root,
        holds=holds,
        exclusive=True,
        and_then=close,
        name=name,
        flags=flags,
        figures=replica_figures(pool, watch),
    )


def engine_middleware(app: App, environment: Environment, root: Path) -> AdapterRouter:
    """The gateway inside an engine's own server, around `app`."""
    from rollout.gateway.holds import Holds

    async def nothing() -> None:
        return

    holds = Holds(root / environment.holds)
    return _adapter_router(app, environment, root, holds=holds, exclusive=False, and_then=nothing)


def _adapter_router(
    app: App,
    environment: Environment,
    root: Path,
    *,
    holds: Holds,
    exclusive: bool,
    and_then: Callable[[], Awaitable[None]],
    name: str | None = None,
    flags: FlagReader | None = None,
    figures: Mapping[str, Callable[[], object]] | None = None,
) -> AdapterRouter:
    import asyncio

    from rollout.gateway.admin import Admin
    from rollout.gateway.contextkey import ContextKeys
    from rollout.gateway.feedback import FeedbackPage
    from rollout.gateway.mirror import Mirror
    from rollout.gateway.router import AdapterRouter, VersionChooser
    from rollout.gateway.routes import RouteTable
    from rollout.integrations.opentelemetry import request_spans
    from rollout.integrations.routesfile import RoutesWatch
    from rollout.wiring.flags import flag_reader
    from rollout.wiring.pages import guarded_pages
    from rollout.wiring.telemetry import telemetry_of

    flags = flags or flag_reader(environment, root)
    table = RouteTable()
    routes = RoutesWatch(root / environment.routes, environment.name, table.accept)
    routes.start()
    holds.start()
    spans = request_spans()
    app = app if spans is None else spans.around(app)
    telemetry, close_telemetry = telemetry_of(
        environment,
        root,
        in_routes=lambda: _served(table.document),
        releases=_releases(table),
        held=lambda: holds.held,
        holds_unread=lambda: holds.error is not None,
        spans=spans,
    )
    mirror = Mirror(app, telemetry, environment.gateway.mirror, held=holds)
    bearer = Bearer(*_tokens(environment, name))
    guarded = guarded_pages(
        environment,
        root,
        bearer,
        table=table,
        routes=routes,
        flags=flags,
        holds=holds,
        on_denied=telemetry.refused,
    )
    shown = {
        "held": lambda: sorted(holds.held),
        "holds_error": lambda: holds.error,
        "mirror": mirror.figures,
        **(figures or {}),
    }

    async def close() -> None:
        await mirror.close()
        await and_then()
        routes.stop()
        holds.stop()
        flags.close()
        await asyncio.to_thread(close_telemetry)

    return AdapterRouter(
        app,
        chooser=VersionChooser(table, flags, ContextKeys(environment.context_key), held=holds, bearer=bearer),
        telemetry=telemetry,
        mirror=mirror,
        admin=Admin(table, routes, flags, telemetry, guarded=guarded, figures=shown),
        feedback=FeedbackPage(telemetry),
        settings=environment.gateway,
        exclusive=exclusive,
        on_shutdown=close,
    )


def _served(routes: Routes | None) -> frozenset[str]:
    """The served adapters that routes name."""
    if routes is None:
        return frozenset()
    both = ((route.stable, route.candidate) for route in routes.routes.values())
    return frozenset(served for slots in both for served in slots if served is not None)


def _releases(table: RouteTable) -> Callable[[], Mapping[str, Collection[str]]]:
    """The served versions of both arms by logical name, where there is a candidate; made anew for new routes only."""
    known: tuple[Routes | None, dict[str, frozenset[str]]] = (None, {})

    def releases() -> Mapping[str, Collection[str]]:
        nonlocal known
        document = table.document
        if document is not None and document is not known[0]:
            both = {name: (route.stable, route.candidate) for name, route in document.routes.items()}
            known = document, {name: frozenset((a, b)) for name, (a, b) in both.items() if b is not None}
        return known[1]

    return releases


def _tokens(environment: Environment, name: str | None) -> list[str]:
    """What a gateway's own pages are opened by: its own token, or any of the gateways' where its own is not known.

    Several gateways may be started with one set of variables, and none of them knows by itself which one it is.
    """
    tokens = {gateway.name: token_from(gateway.token_env) for gateway in environment.gateways}
    own = tokens.get(name) if name else None
    return [own] if own else [token for token in tokens.values() if token]
