"""The routes document: which served adapter is *stable* and which is *candidate*, read by every gateway.

It is derived from the ledger. `min_flag_version` keeps a gateway with older flag data from exposing a fresh
candidate: below that version it serves stable, whatever the flag says.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from rollout.core.flag import HIGHEST
from rollout.core.lifecycle import Phase, RolloutState
from rollout.core.manifest import Document, Line, Name
from rollout.core.plan import Share

ROUTES_SCHEMA: Literal["adapter-rollout/routes/v1"] = "adapter-rollout/routes/v1"


class Route(Document):
    """Where one logical name goes."""

    flag: Line
    stable: Line = Field(description="Served name of the stable adapter, or of the base model.")
    candidate: Line | None = None
    min_flag_version: int = Field(default=0, ge=0, le=HIGHEST)
    max_flag_age_s: float | None = Field(
        default=None, gt=0, description="Flag data older than this give nobody the candidate."
    )
    mirror: Share = Field(
        default=Share.ZERO, description="Share of stable's requests copied to the candidate."
    )
    response_schema: dict[str, JsonValue] | None = Field(
        default=None, description="JSON Schema of a well-formed answer; null if answers are free text."
    )


class Routes(Document):
    """All routes of one environment. `revision` rises with every change."""

    schema_: Literal["adapter-rollout/routes/v1"] = Field(default=ROUTES_SCHEMA, alias="schema")
    environment: Name
    revision: int = Field(ge=0, le=HIGHEST)
    routes: dict[Name, Route]


def route_of(
    state: RolloutState,
    *,
    flag: str,
    base: str,
    mirror: Share,
    response_schema: dict[str, JsonValue] | None,
    max_flag_age_s: float | None = None,
) -> Route:
    """The route that a state asks for. `base` serves while there is no stable adapter yet.

    While a release settles, both slots name the new version, so that the flag can go back to zero without a
    request in between being answered by the old one.
    """
    stable = state.stable.served_name if state.stable else base
    candidate = state.candidate.served_name if state.candidate else None
    return Route(
        flag=flag,
        stable=candidate if state.settling and candidate else stable,
        candidate=candidate,
        min_flag_version=state.started.flag_version if state.started else 0,
        max_flag_age_s=max_flag_age_s,
        mirror=mirror if state.phase is Phase.SHADOW else Share.ZERO,
        response_schema=response_schema,
    )


def with_route(routes: Routes, name: str, route: Route | None) -> Routes:
    """The document with one route set (None removes it); the very same document if nothing changes."""
    if routes.routes.get(name) == route:
        return routes
    rest = {key: value for key, value in routes.routes.items() if key != name}
    changed = rest if route is None else {**rest, name: route}
    return routes.model_copy(
        update={"routes": dict(sorted(changed.items())), "revision": routes.revision + 1}
    )
