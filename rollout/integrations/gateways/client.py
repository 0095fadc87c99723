"""One gateway: what it says of itself, and what its token allows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final
from urllib.parse import quote

from pydantic import BaseModel, TypeAdapter

from rollout.core.exposure import Exposure
from rollout.core.metric import Comparison, MetricSpec, RequestRecord, Samples
from rollout.core.routes import Routes
from rollout.errors import MetricsUnavailable, Unreadable
from rollout.integrations.gateways.line import Line
from rollout.integrations.gateways.samples import SAME_VERSION, read_samples
from rollout.ports import GatewayStatus

_TIMEOUT_S: Final = 2.0
_COUNTING_S: Final = 30.0
"""A look after a long time is one at many rows: three seconds a metric for a million."""


class _Held(BaseModel):
    held: str


class _AllHeld(BaseModel):
    held: dict[str, dict[str, str]]


class _Edge(BaseModel):
    edge: str


_STATUS: Final = TypeAdapter(GatewayStatus)
_ROUTES: Final = TypeAdapter(Routes)
_EXPOSURE: Final = TypeAdapter(Exposure)
_RECORD: Final = TypeAdapter(RequestRecord)
_HELD: Final = TypeAdapter(_Held)
_ALL_HELD: Final = TypeAdapter(_AllHeld)
_EDGE: Final = TypeAdapter(_Edge)
_COMPARISON: Final = TypeAdapter(Comparison)


class GatewayClient:
    """One gateway over HTTP, for use by several threads. `token` opens its guarded pages.

    Every method raises Unavailable on anything but a well-formed answer, as ServingUnavailable where the gateway
    did not say so itself, and Usage where the token is not taken.
    """

    def __init__(
        self, name: str, url: str, *, timeout_s: float = _TIMEOUT_S, token: str | None = None
    ) -> None:
        self._name = name
        self.url = url
        """Where it is asked."""
        self._line = Line(f"gateway {name}", url, timeout_s=timeout_s, token=token)

    def __repr__(self) -> str:
        return f"GatewayClient({self.name!r})"

    @property
    def name(self) -> str:
        """The gateway's name in the environment document."""
        return self._name

    def status(self) -> GatewayStatus:
        """What it says of itself now."""
        return self._line.read(_STATUS, "GET", "/rollout/status")

    def hold(self, *, by: str, reason: str, served: str | None = None, name: str | None = None) -> str:
        """Send all traffic of an adapter to stable; the answer is its served name.

        It is named by itself, or as the candidate of a logical `name`. Raises WorldChanged for what stable serves,
        and Unreadable for a name without a candidate. ServingUnavailable may also mean that it is held and could
        not be written down.
        """
        wanted = {"served": served, "name": name, "by": by, "reason": reason}
        return self._line.read(_HELD, "POST", "/rollout/hold", _body(wanted)).held

    def lift(self, served: str) -> None:
        """Let a held adapter have requests again. Raises NotHeld if it was not."""
        self._line.ask("DELETE", f"/rollout/hold/{quote(served, safe='')}")

    def held(self) -> Mapping[str, Mapping[str, str]]:
        """The served adapters that are held, each with `by` and `reason`."""
        return self._line.read(_ALL_HELD, "GET", "/rollout/hold").held

    def routes(self) -> Routes:
        """The routes in force; an empty document (revision 0) if there are none."""
        return self._line.read(_ROUTES, "GET", "/rollout/routes")

    def put_routes(self, routes: Routes) -> Routes:
        """Put a document in force, to be kept over a restart. Raises WorldChanged if it comes too late."""
        body = routes.model_dump_json(by_alias=True).encode()
        return self._line.read(_ROUTES, "PUT", "/rollout/routes", body)

    def edge(self) -> str:
        """The edge of now of its traffic log. Raises MetricsUnavailable if it has none."""
        return self._line.read(_EDGE, "GET", "/rollout/edge").edge

    def samples(self, spec: MetricSpec, comparison: Comparison, *, since: str, until: str) -> Samples:
        """What its traffic log shows in (since, until]. Raises MetricsUnavailable, also of another version's pages."""
        wanted = {
            "spec": spec.model_dump(mode="json", by_alias=True),
            "comparison": _COMPARISON.dump_python(comparison, mode="json"),
            "since": since,
            "until": until,
        }
        try:
            body = self._line.ask("POST", "/rollout/samples", _body(wanted), patience_s=_COUNTING_S)
        except Unreadable as error:
            raise MetricsUnavailable(
                f"{error.message}: it does not know what {spec.id} asks", advice=SAME_VERSION
            ) from error
        return read_samples(self._line.who, body, spec)

    def exposure(self, comparison: Comparison, *, since: str, until: str, flag_version: int) -> Exposure:
        """Who was served what in (since, until], as its traffic log has it. Raises MetricsUnavailable."""
        wanted = {
            "comparison": _COMPARISON.dump_python(comparison, mode="json"),
            "since": since,
            "until": until,
            "flag_version": flag_version,
        }
        return self._line.read(_EXPOSURE, "POST", "/rollout/exposure", _body(wanted))

    def records(self, *, after: int, limit: int) -> Sequence[tuple[int, RequestRecord]]:
        """Rows of its traffic log behind the id `after`, by rising ids. Raises MetricsUnavailable."""
        lines = self._line.ask("GET", f"/rollout/records?after={after}&limit={limit}").splitlines()
        try:
            rows = [_row(json.loads(line)) for line in lines]
        except (ValueError, RecursionError) as error:
            raise MetricsUnavailable(f"gateway {self.name} answered something that is no record") from error
        # Whoever asks for the next page goes on behind the last row: it must never come to where it was.
        if any(later <= before for before, later in pairwise([after, *(number for number, _ in rows)])):
            raise MetricsUnavailable(f"gateway {self.name} answered records whose ids do not rise")
        return rows


def _row(document: Any) -> tuple[int, RequestRecord]:
    if not isinstance(document, dict) or type(number := document.pop("id", None)) is not int:
        raise ValueError("is no row with an id")
    return number, _RECORD.validate_python(document)


def _body(value: object) -> bytes:
    return json.dumps(value).encode()
