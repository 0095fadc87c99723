"""What a gateway decides by, over HTTP: the routes in force, a newer document for them, and the flags' versions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from rollout.core.routes import Routes
from rollout.errors import Unavailable
from rollout.gateway.guard import Asked, Pages, Told, told
from rollout.gateway.routes import RouteTable
from rollout.ports import FlagReader

JSON_HAS_NO_INFINITY_S = 1e9


class RoutePages:
    """`/rollout/routes` and `/rollout/flags`.

    `put` writes a whole document so that a restart knows it, and puts it in force; it raises WorldChanged for one
    that comes too late, and Unreadable for one of another environment.
    """

    def __init__(
        self, environment: str, table: RouteTable, flags: FlagReader, *, put: Callable[[Routes], Routes]
    ) -> None:
        self._empty = Routes(environment=environment, revision=0, routes={})
        self._table = table
        self._flags = flags
        self._put = put
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="routes")

    @property
    def pages(self) -> Pages:
        """Its pages."""
        return {
            "/rollout/routes": {"GET": self._show, "PUT": self._replace},
            "/rollout/flags": {"GET": self._versions},
        }

    async def _show(self, _: Asked) -> Told:
        return _told(self._table.document or self._empty)

    async def _replace(self, asked: Asked) -> Told:
        routes = asked.document(Routes)
        taken = await asyncio.get_running_loop().run_in_executor(self._thread, self._put, routes)
        if self._table.revision < taken.revision:
            raise Unavailable("the routes were written and are not in force here: see /rollout/status")
        return _told(taken)

    async def _versions(self, _: Asked) -> Told:
        status = self._flags.status()
        return told(
            {
                "versions": dict(status.versions),
                "age_s": min(status.age_s, JSON_HAS_NO_INFINITY_S),
                "ready": status.ready,
                "error": status.error,
            }
        )


def _told(routes: Routes) -> Told:
    return Told(body=routes.model_dump_json(by_alias=True).encode())
