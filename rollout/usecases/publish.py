"""Keep the routes document what the ledger says it is."""

from __future__ import annotations

from pydantic import JsonValue

from rollout.core.plan import Share
from rollout.core.routes import Routes, route_of, with_route
from rollout.ports import World
from rollout.usecases.book import Book


def publish(
    world: World, book: Book, *, mirror: Share, response_schema: dict[str, JsonValue] | None = None
) -> int:
    """Write the route that the ledger asks for, if it is not there yet; the answer is the revision.

    The ledger is read again while the document is locked, so that whoever writes last writes what happened
    last. Without a `response_schema` the one that is in force stays. A name that was never released gets no route; one
    that the ledger does not know any more keeps what is stable, and loses its candidate.
    """

    def change(routes: Routes) -> Routes:
        known, state = routes.routes.get(book.name), book.reread()
        if known is not None and not state.began:
            return with_route(routes, book.name, known.model_copy(update={"candidate": None}))
        if known is None and state.stable is None and state.candidate is None:
            return routes
        schema = known.response_schema if response_schema is None and known is not None else response_schema
        route = route_of(
            state,
            flag=world.environment.flag_key(book.name),
            base=world.environment.server.base,
            mirror=mirror,
            response_schema=schema,
            max_flag_age_s=world.environment.flags.max_age_s,
        )
        return with_route(routes, book.name, route)

    return world.routes.update(change).revision
