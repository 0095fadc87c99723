"""The routes in force, each with its compiled format check."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from rollout.core.routes import Route, Routes
from rollout.gateway.openai import refuse_constant

FormatCheck = Callable[[str], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveRoute:
    """One logical name. `check` is None if answers are free text or the schema is unusable."""

    name: str
    route: Route
    check: FormatCheck | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    revision: int
    routes: Mapping[str, LiveRoute]
    complaints: tuple[str, ...]
    document: Routes | None = None


class RouteTable:
    """What a gateway routes by; replaced whole, from any thread, whenever the routes document changes."""

    def __init__(self) -> None:
        self._table = _Table(revision=0, routes={}, complaints=())

    def accept(self, routes: Routes) -> None:
        """Put a revision in force. Schemas are compiled here, once a revision.

        A schema that cannot be compiled is a complaint and no reason to refuse the document: it may be the one
        that takes a bad candidate away.
        """
        live: dict[str, LiveRoute] = {}
        complaints: list[str] = []
        for name, route in routes.routes.items():
            check = None
            if route.response_schema is not None:
                try:
                    check = _compile(route.response_schema)
                except ValueError:
                    complaints.append(f"the response schema of {name} cannot be used")
            live[name] = LiveRoute(name=name, route=route, check=check)
        self._table = _Table(
            revision=routes.revision, routes=live, complaints=tuple(complaints), document=routes
        )

    def find(self, name: str) -> LiveRoute | None:
        """The route of a logical name."""
        return self._table.routes.get(name)

    @property
    def names(self) -> tuple[str, ...]:
        """The logical names, sorted."""
        return tuple(sorted(self._table.routes))

    @property
    def revision(self) -> int:
        """The revision in force; 0 before the first."""
        return self._table.revision

    @property
    def document(self) -> Routes | None:
        """The document in force; None before the first."""
        return self._table.document

    @property
    def complaints(self) -> tuple[str, ...]:
        """What is wrong with the revision in force."""
        return self._table.complaints


def _compile(schema: Mapping[str, JsonValue]) -> FormatCheck:
    import jsonschema_rs

    # Offline, so that a `$ref` cannot make the gateway fetch anything; patterns in linear time, because what
    # they are matched against is written by a model.
    validator = jsonschema_rs.validator_for(
        dict(schema), offline=True, pattern_options=jsonschema_rs.RegexOptions()
    )

    def check(text: str) -> bool:
        try:
            value = json.loads(text, parse_constant=refuse_constant)
            return bool(validator.is_valid(value))
        except (ValueError, RecursionError, OverflowError):
            return False

    return check
