"""The routes of an environment with what its flags and holds make of them now, and their form for other gateways."""

from __future__ import annotations

from collections.abc import Container, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rollout.core.environment import Environment, Reach

if TYPE_CHECKING:
    from rollout.core.routes import Routes
    from rollout.core.split import Split


def present_splits(environment: Environment, root: Path) -> tuple[Routes, tuple[Split, ...]]:
    """The routes in force and the splits of all logical names. Raises Unavailable and Unreadable."""
    from rollout.core.split import splits
    from rollout.wiring.flags import flag_store
    from rollout.wiring.worlds import routes_store

    routes = routes_store(environment, root).read()
    store = flag_store(environment, root)
    keys = {route.flag for route in routes.routes.values()}
    flags = {key: flag for key in keys if (flag := store.read(key)) is not None}
    return routes, splits(routes, flags, _held(environment, root))


def _held(environment: Environment, root: Path) -> Container[str]:
    """The served adapters that any gateway holds."""
    from rollout.gateway.holds import read_holds
    from rollout.wiring.worlds import gateway_clients

    if environment.reach is Reach.GATEWAYS:
        return {served for gateway in gateway_clients(environment) for served in gateway.held()}
    return read_holds(root / environment.holds)


def as_yaml(documents: Sequence[dict[str, object]]) -> str:
    """Documents of one file."""
    from rollout.integrations.documents import render

    return "---\n".join(render(document).decode() for document in documents)
