"""The guarded pages of a gateway, over what it routes by and writes to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rollout.bearer import Bearer
    from rollout.core.environment import Environment
    from rollout.core.routes import Routes
    from rollout.gateway.guard import GuardedPages
    from rollout.gateway.holds import Holds
    from rollout.gateway.routes import RouteTable
    from rollout.integrations.routesfile import RoutesWatch
    from rollout.ports import FlagReader


def guarded_pages(
    environment: Environment,
    root: Path,
    bearer: Bearer,
    *,
    table: RouteTable,
    routes: RoutesWatch,
    flags: FlagReader,
    holds: Holds,
    on_denied: Callable[[int], None],
) -> GuardedPages:
    """Kill path, routes, flags and traffic log, for whoever `bearer` knows."""
    from rollout.gateway.guard import GuardedPages
    from rollout.gateway.holdpages import HoldPages
    from rollout.gateway.logpages import LogPages
    from rollout.gateway.routepages import RoutePages
    from rollout.integrations.routesfile import RoutesFile
    from rollout.integrations.trafficlog import TrafficLog

    store = RoutesFile(root / environment.routes, environment.name)
    log = TrafficLog(root / environment.metrics.path)

    def put(document: Routes) -> Routes:
        taken = store.update(lambda _: document)
        routes.look()
        return taken

    pages = (
        HoldPages(holds, table).pages,
        RoutePages(environment.name, table, flags, put=put).pages,
        LogPages(log, log).pages,
    )
    return GuardedPages(
        bearer,
        {path: page for each in pages for path, page in each.items()},
        on_denied=on_denied,
    )
