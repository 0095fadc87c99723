"""What is known of releases -> series for Prometheus, as a file that node_exporter's textfile collector reads.

Ticks are short, so that nobody could scrape them: each leaves a file behind. All series come from the ledger, and what
is waited for from the last status; `docs/metrics.md` has them in a table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rollout.core.lifecycle import (
    Erred,
    LedgerEntry,
    Looked,
    Phase,
    Promoted,
    RolledBack,
    RolloutState,
    Shifted,
    Started,
    Verified,
)
from rollout.core.verdict import Outcome, Verdict
from rollout.core.waiting import Cause, Wait

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

PREFIX = "rollout_engine_"
_ADAPTER = ("name", "environment")
_Sample = tuple[str, tuple[str, ...], float]
"""(series, values of its labels behind the adapter's, value)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One of them. Every one has the labels `name` and `environment` first."""

    kind: Literal["counter", "gauge"]
    labels: tuple[str, ...] = ()
    meaning: str


def _gauge(meaning: str, *labels: str) -> Series:
    return Series(kind="gauge", labels=labels, meaning=meaning)


def _counter(meaning: str, *labels: str) -> Series:
    return Series(kind="counter", labels=labels, meaning=meaning)


SERIES: Mapping[str, Series] = {
    "phase": _gauge("1 for the phase that it is in, 0 for all others.", "phase"),
    "share": _gauge("Share of requests that the candidate gets, 0 to 1."),
    "step": _gauge("Step of the plan, from 1; 0 before the first and where nothing is under way."),
    "last_tick_seconds": _gauge(
        "Unix time of the tick that wrote this; not there where `rollout status` did."
    ),
    "last_event_seconds": _gauge("Unix time of the ledger's last entry."),
    "ledger_head_seq": _gauge("Number of the ledger's last entry, from 0."),
    "last_look": _gauge("1 for what the last look of the release came to, 0 for all others.", "outcome"),
    "evidence_of_harm": _gauge("E-value against no worse, by metric of the release under way.", "metric"),
    "evidence_of_no_worse": _gauge("E-value against worse than accepted, by metric.", "metric"),
    "errors_in_a_row": _gauge("Looks in a row that could not be taken."),
    "waits": _gauge("1 for each cause that a release under way waits for, 0 for all others.", "cause"),
    "overdue": _gauge("Whether the deadline of the present state has passed."),
    "rollback_unfinished": _gauge(
        "Whether a rollback is not reverted in git, or not verified at gateways, yet."
    ),
    "looks_total": _counter("Looks, by what they came to.", "outcome"),
    "promotions_total": _counter("Candidates that were promoted."),
    "rollbacks_total": _counter(
        "Candidates that were taken back, by the judge or an alert (`1`) or by hand (`0`).", "automatic"
    ),
    "last_detect_seconds": _gauge(
        "From the first users of the candidate that was taken back last to the flag's write."
    ),
    "last_restore_seconds": _gauge("From that write until every gateway was seen to have left it."),
}
"""Counters begin anew where a ledger was compacted, as counters may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One adapter: its ledger, and what a status knows besides, where one was taken."""

    name: str
    environment: str
    state: RolloutState
    entries: Sequence[LedgerEntry]
    verdicts: Sequence[Verdict] = ()
    waits: Sequence[Wait] = ()
    overdue: bool = False


def write(path: Path, seen: Iterable[Seen], *, ticked_at: datetime | None) -> None:
    """Replace the file as a whole, or not at all. Raises OSError."""
    from prometheus_client import write_to_textfile

    write_to_textfile(str(path), registry(seen, ticked_at=ticked_at))


def registry(seen: Iterable[Seen], *, ticked_at: datetime | None) -> CollectorRegistry:
    """A registry of its own with the series of all adapters."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.registry import Collector

    metrics = _families(seen, ticked_at)

    class _Engine(Collector):
        def collect(self) -> Iterable[Metric]:
            return metrics

    found = CollectorRegistry()
    found.register(_Engine())
    return found


def _families(seen: Iterable[Seen], ticked_at: datetime | None) -> list[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    families = {
        name: (CounterMetricFamily if series.kind == "counter" else GaugeMetricFamily)(
            PREFIX + name, series.meaning, labels=(*_ADAPTER, *series.labels)
        )
        for name, series in SERIES.items()
    }
    for one in seen:
        for name, labels, value in _samples(one, ticked_at):
            families[name].add_metric((one.name, one.environment, *labels), value)
    return list(families.values())


def _samples(seen: Seen, ticked_at: datetime | None) -> Iterator[_Sample]:
    state, causes = seen.state, {wait.cause for wait in seen.waits}
    yield from (("phase", (str(each),), float(each is state.phase)) for each in Phase)
    yield "share", (), state.share.fraction
    yield "step", (), float(state.step + 1)
    if ticked_at is not None:
        yield "last_tick_seconds", (), ticked_at.timestamp()
    if seen.entries:
        yield "last_event_seconds", (), seen.entries[-1].event.at.timestamp()
        yield "ledger_head_seq", (), float(seen.entries[-1].seq)
    for verdict in seen.verdicts:
        if verdict.e_value is not None:
            yield "evidence_of_harm", (verdict.subject,), verdict.e_value
        if verdict.proof is not None:
            yield "evidence_of_no_worse", (verdict.subject,), verdict.proof
    yield "errors_in_a_row", (), float(state.errors)
    yield from (("waits", (str(each),), float(each in causes)) for each in Cause)
    yield "overdue", (), float(seen.overdue)
    yield "rollback_unfinished", (), float(state.unfinished_rollback is not None)
    yield from _counted(seen.entries)
    yield from _last_rollback(seen.entries)


def _counted(entries: Sequence[LedgerEntry]) -> Iterator[_Sample]:
    events = [entry.event for entry in entries]
    looks = [_came_to(event) for event in events if isinstance(event, Looked | Erred)]
    back = [event.automatic for event in events if isinstance(event, RolledBack) and event.bad is not None]
    for outcome in Outcome:
        yield "last_look", (str(outcome),), float(looks[-1:] == [outcome])
        yield "looks_total", (str(outcome),), float(looks.count(outcome))
    yield "promotions_total", (), float(sum(isinstance(event, Promoted) for event in events))
    for automatic in (False, True):
        yield "rollbacks_total", (str(int(automatic)),), float(back.count(automatic))


def _came_to(event: Looked | Erred) -> Outcome:
    return event.outcome if isinstance(event, Looked) else Outcome.ERROR


def _last_rollback(entries: Sequence[LedgerEntry]) -> Iterator[_Sample]:
    """Nothing where nothing was taken back, or what is known of it lies before the ledger's beginning."""
    shown: datetime | None = None
    detect = restore = None
    for event in (entry.event for entry in entries):
        if isinstance(event, Started):
            shown = None
        elif isinstance(event, Shifted) and shown is None:
            shown = event.at
        elif isinstance(event, RolledBack) and event.bad is not None:
            detect = None if shown is None else (event.flag_written_at - shown).total_seconds()
            restore = None
        elif isinstance(event, Verified):
            restore = event.verified_s
    if detect is not None:
        yield "last_detect_seconds", (), detect
    if restore is not None:
        yield "last_restore_seconds", (), restore
