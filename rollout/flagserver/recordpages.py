"""What is known beside the flags: who asks, the environment, who evaluates, what happened, releases."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rollout.flagserver import shown
from rollout.flagserver.desk import Desk


class RecordPages:
    """The rest of what is only read."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[Route]:
        """The routes."""
        environment = "/api/v2/projects/{project}/environments/{environment}"
        return [
            Route("/api/v2/caller-identity", self.identity, methods=["GET"]),
            Route(environment, self.environment, methods=["GET"]),
        ]

    async def identity(self, request: Request) -> Response:
        """Whom the token belongs to."""
        token = self._desk.admit(request)
        return JSONResponse(shown.identity(self._desk.keeping.book, token))

    async def environment(self, request: Request) -> Response:
        """The environment, with what has to be approved in it."""
        self._desk.admit(request)
        return JSONResponse(shown.environment(self._desk.scope, self._desk.keeping.book))
