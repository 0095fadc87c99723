"""RoutesStore over the gateways' own pages: the first gateway is the home of the document, the others follow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from rollout.core.routes import Routes
from rollout.errors import RolloutError, ServingUnavailable, Unavailable, WorldChanged
from rollout.integrations.gateways.client import GatewayClient

_RACES: Final = 5


class GatewayRoutes:
    """RoutesStore over all gateways of an environment.

    Writers meet at the first gateway, which takes one of two documents with the same revision: so the others never
    get two. A gateway that was away keeps its older routes until the next update, whether or not that changes
    anything. What was seen once is never gone back behind: whoever holds it may be away now, and its home may have
    been restored from an older copy.
    """

    def __init__(self, gateways: Sequence[GatewayClient], environment: str) -> None:
        self._home, *self._others = gateways
        self._environment = environment
        self._seen = Routes(environment=environment, revision=0, routes={})

    def read(self) -> Routes:
        """The newest document that was ever seen here.

        Raises ServingUnavailable if its home does not answer, or has none while another gateway does not answer.
        Raises WorldChanged where two gateways hold different documents of one revision.
        """
        return self._newest()

    def update(self, change: Callable[[Routes], Routes]) -> Routes:
        """Put what `change` makes of the document in force at every gateway; the answer is the result.

        If somebody else was faster, `change` is asked again. Raises WorldChanged if that goes on, or another
        gateway holds something newer, and ServingUnavailable once all others have it.
        """
        for attempt in range(_RACES):
            routes = change(self._newest())
            try:
                self._home.put_routes(routes)
                break
            except WorldChanged:
                if attempt == _RACES - 1:
                    raise
        self._seen = routes
        self._tell_the_others(routes)
        return routes

    def _newest(self) -> Routes:
        newest, away = self._home.routes(), None
        for gateway in self._others:
            try:
                found = gateway.routes()
            except Unavailable as error:
                away = error
                continue  # It is told with the next update, which fails until it answers.
            if found.revision == newest.revision and found != newest:
                raise WorldChanged(
                    f"{self._home.name} and {gateway.name} hold different routes of revision {found.revision}",
                    advice="Put one of the two documents to both with a higher revision.",
                )
            newest = max(newest, found, key=lambda routes: routes.revision)
        # The first of equals: of one revision, what is there now counts.
        self._seen = max(self._ours(newest), self._seen, key=lambda routes: routes.revision)
        if away is not None and self._seen.revision == 0:
            raise ServingUnavailable(
                f"gateway {self._home.name} has no routes, and another may have some: {away.message}",
                advice="Nothing is written over routes that nobody can see: wait until all gateways answer.",
            )
        return self._seen

    def _ours(self, routes: Routes) -> Routes:
        if routes.environment != self._environment:
            raise WorldChanged(
                f"the gateways serve the environment {routes.environment}, not {self._environment}"
            )
        return routes

    def _tell_the_others(self, routes: Routes) -> None:
        failures: list[RolloutError] = []
        for gateway in self._others:
            try:
                gateway.put_routes(routes)
            except (Unavailable, WorldChanged) as error:
                failures.append(error)
        if failures:
            raise failures[0]
