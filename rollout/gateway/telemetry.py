"""What the gateway knows of its own traffic: counters for Prometheus, one row a request, who routes where."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from prometheus_client import CollectorRegistry, Gauge, Histogram, generate_latest
from prometheus_client import Counter as Count

from rollout.core.metric import RequestRecord
from rollout.gateway.routes import FormatCheck
from rollout.ports import FlagDataStatus, TrafficRecorder

_ADAPTER = ("name", "served", "slot", "shadow")
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_PREFIX = "rollout_gateway"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """What passed in one request, for whoever looks at it off the hot path. `text` is None if nothing was readable."""

    request: bytes
    text: str | None
    overlong: bool
    check: FormatCheck | None


class Telemetry:
    """Counts what passes. All methods are called on the event loop; none of them waits.

    `rows_lost` tells how many rows the recorder could not keep.
    """

    def __init__(
        self, recorder: TrafficRecorder, *, salt: bytes, rows_lost: Callable[[], int] = lambda: 0
    ) -> None:
        self._recorder = recorder
        self._salt = salt
        self.rows_lost = rows_lost
        self.in_flight: Counter[str] = Counter()
        self.last_routed: dict[str, float] = {}
        self._answered: set[str] = set()
        self._registry = registry = CollectorRegistry()
        self._requests = Count(
            f"{_PREFIX}_requests", "Requests by class of the answer", (*_ADAPTER, "status"), registry=registry
        )
        self._latency = Histogram(
            f"{_PREFIX}_latency_seconds", "Whole answers", _ADAPTER, registry=registry, buckets=_SECONDS
        )
        self._first_byte = Histogram(
            f"{_PREFIX}_first_byte_seconds", "First byte", _ADAPTER, registry=registry, buckets=_SECONDS
        )
        self._malformed = Count(
            f"{_PREFIX}_format_invalid", "Answers that break their format", _ADAPTER, registry=registry
        )
        self._decisions = Count(
            f"{_PREFIX}_decisions", "Slots by reason", ("name", "slot", "reason"), registry=registry
        )
        self._refused = Count(
            f"{_PREFIX}_refused", "Requests that went to no adapter", ("status",), registry=registry
        )
        self._dropped = Count(
            f"{_PREFIX}_mirror_dropped",
            "Shadow copies that were not sent",
            ("name", "reason"),
            registry=registry,
        )
        self._busy = Gauge(f"{_PREFIX}_in_flight", "Requests under way", ("served",), registry=registry)
        self._flag_version = Gauge(
            f"{_PREFIX}_flag_version", "Version in force", ("flag",), registry=registry
        )
        self._ages = Gauge(
            f"{_PREFIX}_data_age_seconds", "Since last confirmed", ("data",), registry=registry
        )
        self._revision = Gauge(f"{_PREFIX}_routes_revision", "Revision in force", registry=registry)
        self._lost = Gauge(
            f"{_PREFIX}_traffic_rows_lost", "Rows missing in the traffic log", registry=registry
        )

    def begin(self, served: str, *, shadow: bool) -> float:
        """A request was just routed to `served`; the answer is the Unix time that is recorded for it."""
        now = time.time()
        self.in_flight[served] += 1
        if not shadow:
            self.last_routed[served] = now
        return now

    def has_answered(self, served: str) -> bool:
        """Whether an adapter has given a good answer since this process began."""
        return served in self._answered

    def end(self, record: RequestRecord, spoken: Spoken | None = None) -> None:
        """A request is over. `spoken` is there if an answer came whole."""
        if spoken is not None:
            record = replace(record, format_valid=_format_valid(spoken))
        self.in_flight[record.served] -= 1
        if 200 <= record.status <= 299 and record.error is None:
            self._answered.add(record.served)
        adapter = (record.name, record.served, record.slot, "1" if record.shadow else "0")
        self._requests.labels(*adapter, _status_class(record.status)).inc()
        self._latency.labels(*adapter).observe(record.latency_ms / 1000)
        if record.first_byte_ms is not None:
            self._first_byte.labels(*adapter).observe(record.first_byte_ms / 1000)
        if record.format_valid is False:
            self._malformed.labels(*adapter).inc()
        if not record.shadow:
            self._decisions.labels(record.name, record.slot, record.flag_reason).inc()
        self._recorder.record(record)

    def refused(self, status: int) -> None:
        """A request went to no adapter."""
        self._refused.labels(str(status)).inc()

    def mirror_dropped(self, name: str, reason: str) -> None:
        """A shadow copy that the sample wanted was not sent; `reason` is one of `NotCopied`."""
        self._dropped.labels(name, reason).inc()

    def hash_key(self, key: str | None) -> str | None:
        """A sticky key as it may be recorded: not readable, and another one in each log.

        It is no secret from whoever has the log: its salt stands there, and a list of users can be tried.
        """
        if key is None:
            return None
        return hashlib.sha256(self._salt + key.encode("utf-8", "surrogatepass")).hexdigest()[:32]

    def exposition(self, flags: FlagDataStatus, *, routes_revision: int, routes_age_s: float) -> bytes:
        """Everything in Prometheus' text format."""
        for served, number in self.in_flight.items():
            self._busy.labels(served).set(number)
        for flag, version in flags.versions.items():
            self._flag_version.labels(flag).set(version)
        self._ages.labels("flags").set(flags.age_s)
        self._ages.labels("routes").set(routes_age_s)
        self._revision.set(routes_revision)
        self._lost.set(self.rows_lost())
        return generate_latest(self._registry)


def _format_valid(spoken: Spoken) -> bool | None:
    if spoken.check is None:
        return None
    if spoken.overlong:
        return False
    return None if spoken.text is None else spoken.check(spoken.text)


def _status_class(status: int) -> str:
    match status:
        case 0:
            return "none"
        case 499:
            return "left"
        case _:
            return f"{status // 100}xx"
