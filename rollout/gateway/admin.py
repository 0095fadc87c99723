"""The gateway's own pages: what it routes by, how fresh that is, and its counters; guarded ones for who steers it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from typing import Protocol

from rollout.gateway.guard import GuardedPages
from rollout.gateway.openai import Receive, Scope, Send, send_bytes, send_refusal, unknown_model
from rollout.gateway.routepages import JSON_HAS_NO_INFINITY_S
from rollout.gateway.routes import RouteTable
from rollout.gateway.telemetry import Telemetry
from rollout.ports import FlagReader, GatewayStatus

_METRICS_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
_OWN = frozenset({"/rollout/status", "/rollout/metrics"})
_STAND_ALONE = _OWN | {"/v1/models", "/health", "/metrics"}
_MODEL = "/v1/models/"

Figures = Mapping[str, Callable[[], object]]
"""Further entries of the status page, by name: JSON values, asked for each time."""


class Freshness(Protocol):
    """How fresh the routes are."""

    @property
    def age_s(self) -> float:
        """Seconds since they were last confirmed."""
        ...

    @property
    def error(self) -> str | None:
        """Why newer ones are not in force."""
        ...


class Admin:
    """Answers the gateway's own pages. The open ones name adapters and counts, and nothing about any request."""

    def __init__(
        self,
        table: RouteTable,
        routes: Freshness,
        flags: FlagReader,
        telemetry: Telemetry,
        *,
        guarded: GuardedPages,
        figures: Figures,
    ) -> None:
        self._table = table
        self._routes = routes
        self._flags = flags
        self._telemetry = telemetry
        self._guarded = guarded
        self._figures = figures

    def answers(self, scope: Scope, *, exclusive: bool) -> bool:
        """Whether a request is for one of these pages. Inside an engine its own pages keep their paths."""
        path = scope["path"]
        if self._guarded.has(path):
            return True
        known = path in _STAND_ALONE or path.startswith(_MODEL) if exclusive else path in _OWN
        return known and scope["method"] in ("GET", "HEAD")

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one page."""
        match scope["path"]:
            case "/rollout/status":
                await _send_json(send, 200, self._status())
            case "/rollout/metrics" | "/metrics":
                await send_bytes(send, 200, await self._metrics(), media_type=_METRICS_TYPE)
            case "/v1/models":
                models = [_model(name) for name in self._table.names]
                await _send_json(send, 200, {"object": "list", "data": models})
            case "/health":
                await self._health(send)
            case path if self._guarded.has(path):
                await self._guarded.answer(scope, receive, send)
            case path:
                name = path.removeprefix(_MODEL)
                if self._table.find(name) is None:
                    await send_refusal(send, unknown_model(name))
                else:
                    await _send_json(send, 200, _model(name))

    def status(self) -> GatewayStatus:
        """What the gateway uses now."""
        flags = self._flags.status()
        return GatewayStatus(
            routes_revision=self._table.revision,
            flag_versions=dict(flags.versions),
            flag_age_s=_finite(flags.age_s),
            flag_source=flags.source,
            flag_environment=flags.environment,
            in_flight=dict(self._telemetry.in_flight),
            last_routed=dict(self._telemetry.last_routed),
        )

    def _status(self) -> dict[str, object]:
        flags = self._flags.status()
        return {
            **dataclasses.asdict(self.status()),
            "flags_ready": flags.ready,
            "flags_error": flags.error,
            "routes_age_s": _finite(self._routes.age_s),
            "routes_error": self._routes.error or "; ".join(self._table.complaints) or None,
            "traffic_rows_lost": self._telemetry.rows_lost(),
            "denied": self._guarded.denied,
            **{name: figure() for name, figure in self._figures.items()},
        }

    async def _metrics(self) -> bytes:
        page = await asyncio.to_thread(self._telemetry.comparisons)
        return self._telemetry.exposition(
            self._flags.status(),
            routes_revision=self._table.revision,
            routes_age_s=self._routes.age_s,
            page=page,
        )

    async def _health(self, send: Send) -> None:
        # Without flags it serves stable; without routes it can serve nobody.
        if self._table.revision > 0 or self._table.names:
            await _send_json(send, 200, {"status": "ok"})
        else:
            await _send_json(send, 503, {"status": "no routes", "error": self._routes.error})


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "adapter-rollout"}


def _finite(age_s: float) -> float:
    return age_s if math.isfinite(age_s) else JSON_HAS_NO_INFINITY_S


async def _send_json(send: Send, status: int, value: object) -> None:
    await send_bytes(send, status, json.dumps(value).encode())
