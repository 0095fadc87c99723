"""The routes document: which served adapter is *stable* and which is *candidate*, read by every gateway.

It is derived from the ledger. `min_flag_version` keeps a gateway with older flag data from exposing a fresh
candidate: below that version it serves stable, whatever the flag says.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from rollout.core.manifest import Document, Line, Name
from rollout.core.plan import Share

ROUTES_SCHEMA: Literal["adapter-rollout/routes/v1"] = "adapter-rollout/routes/v1"


class Route(Document):
    """Where one logical name goes."""

    flag: Line
    stable: Line = Field(description="Served name of the stable adapter, or of the base model.")
    candidate: Line | None = None
    min_flag_version: int = Field(default=0, ge=0)
    mirror: Share = Field(default=Share.ZERO, description="Share of stable's requests copied to the candidate.")
    response_schema: dict[str, JsonValue] | None = Field(
        default=None, description="JSON Schema of a well-formed answer; null if answers are free text."
    )


class Routes(Document):
    """All routes of one environment. `revision` rises with every change."""

    schema_: Literal["adapter-rollout/routes/v1"] = Field(default=ROUTES_SCHEMA, alias="schema")
    environment: Name
    revision: int = Field(ge=0)
    routes: dict[Name, Route]
