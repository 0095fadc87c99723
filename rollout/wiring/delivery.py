"""The agent beside one server: what it lays down, what it follows, whom it asks."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rollout.bearer import Bearer, token_from
from rollout.errors import RolloutError, Unavailable, Usage
from rollout.wiring.artifacts import _locate
from rollout.wiring.places import working_folder
from rollout.wiring.worlds import gateway_clients, routes_store

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from rollout.core.environment import Environment, ReplicaEndpoint
    from rollout.core.manifest import AdapterManifest
    from rollout.core.routes import Routes


def agent_app(environment: Environment, replica: ReplicaEndpoint, root: Path, *, drain_s: float) -> Starlette:
    """The agent of one replica. Raises Usage without a token: a delivery decides what a server computes."""
    from rollout.agent.app import AgentApp
    from rollout.agent.delivered import Delivered
    from rollout.agent.forward import Forward
    from rollout.agent.keeper import Keeper, Limits
    from rollout.integrations.shelf import AdapterShelf
    from rollout.integrations.vllm.replica import Replica

    token = token_from(replica.agent_token_env)
    if token is None:
        raise Usage(
            f"the agent of {replica.name} has no token",
            advice="Name a variable in `agent_token_env` of the replica, and set it.",
        )
    folder, server_token = root / environment.adapter_folder, token_from(replica.token_env)
    delivered = Delivered(folder)
    keeper = Keeper(
        Replica(replica.name, replica.url, token=server_token),
        AdapterShelf(folder, locate=partial(_locate, root, working_folder(root))),
        delivered,
        _Around(environment, root),
        Limits(base=environment.server.base, slots=environment.server.max_loras, drain_s=drain_s),
        now=time.monotonic,
    )
    forward = Forward(replica.name, replica.url, token=server_token)
    return AgentApp(keeper, delivered, forward, Bearer(token)).application()


class _Around:
    """The routes as this environment is reached, the last good ones where they cannot be read; gateways; bytes."""

    def __init__(self, environment: Environment, root: Path) -> None:
        self._environment = environment
        self._root = root
        self._store = routes_store(environment, root)
        self._gateways = gateway_clients(environment)
        self._last: Routes | None = None

    def routes(self) -> Routes:
        """The routes in force. Raises Unavailable, or why they cannot be read, if there never were any.

        No document at all is none: a folder that is not there yet must not unload what users are served by.
        """
        try:
            found = self._store.read()
        except RolloutError:
            if self._last is None:
                raise
            return self._last
        if found.revision > 0:
            self._last = found
        if self._last is None:
            raise Unavailable("there are no routes yet")
        return self._last

    def under_way(self, served: str) -> bool:
        """Whether a gateway has a request of an adapter under way. Raises ServingUnavailable if one cannot tell."""
        return any(gateway.status().in_flight.get(served, 0) for gateway in self._gateways)

    def why_not(self, manifest: AdapterManifest, folder: Path) -> tuple[str, ...]:
        """All that stands against loading it here."""
        from rollout.core.loadable import why_not_loadable
        from rollout.integrations.safetensors import inspect

        server = self._environment.server
        bases = [self._root / server.base_path] if server.base_path else []
        dtypes = frozenset({manifest.base.dtype, server.dtype})
        return why_not_loadable(inspect(folder, dtypes=dtypes, bases=bases))
