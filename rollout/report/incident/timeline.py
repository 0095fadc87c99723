"""The timeline: one line an event, whatever source it is known from, in UTC."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from rollout.core.incident import TOLERATED_S, Source
from rollout.core.lifecycle import LedgerEntry, LedgerEvent, Looked, RolledBack
from rollout.core.plain import plain
from rollout.report.events import tell
from rollout.usecases.incident import IncidentRecord

_LONGEST = 500
_NOBODY = "-"
_MOST_ALIKE = 2
"""Looks of one outcome in a row that are told one by one; of more, only how many there were."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line. `until` is its end where it stands for several events; `back_s` tells that its clock went back so far."""

    at: datetime
    source: Source
    who: str
    what: str
    until: datetime | None = None
    mark: str = ""
    back_s: float | None = None

    @property
    def when(self) -> str:
        """In UTC, to the second."""
        return f"{self.at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"

    @property
    def told(self) -> str:
        """What happened, and what its clock says against the order."""
        back = f" (this clock is {self.back_s:.0f} s behind the entry before)" if self.back_s else ""
        return self.what + back


def timeline(record: IncidentRecord) -> list[Line]:
    """All lines in the order in which they happened: the ledger's own order is kept, whatever its clocks say."""
    found = [*_ledger(record), *_elsewhere(record)]
    found.sort(key=lambda each: each[0])
    return [line for _, line in found]


def _ledger(record: IncidentRecord) -> Iterator[tuple[datetime, Line]]:
    reached: datetime | None = None
    for group in _groups(record.incident.story):
        line = _line(record, group)
        back = None if reached is None else (reached - line.at).total_seconds()
        if back is not None and back > TOLERATED_S:
            line = _behind(line, back)
        yield max(line.at, reached or line.at), line
        ends = line.until or line.at
        reached = max(ends, reached or ends)


def _groups(story: Sequence[LedgerEntry]) -> Iterator[list[LedgerEntry]]:
    """Entries one by one, but for looks in a row that say the same."""
    group: list[LedgerEntry] = []
    for entry in story:
        if group and not _alike(group[-1].event, entry.event):
            yield from _folded(group)
            group = []
        group.append(entry)
    if group:
        yield from _folded(group)


def _alike(one: LedgerEvent, other: LedgerEvent) -> bool:
    return isinstance(one, Looked) and isinstance(other, Looked) and one.outcome is other.outcome


def _folded(group: list[LedgerEntry]) -> Iterator[list[LedgerEntry]]:
    if len(group) <= _MOST_ALIKE or not all(one.event.at <= other.event.at for one, other in pairwise(group)):
        yield from ([entry] for entry in group)
    else:
        yield group


def _line(record: IncidentRecord, group: list[LedgerEntry]) -> Line:
    event = group[0].event
    who = event.actor if event.run_url is None else f"{event.actor}, {event.run_url}"
    mark = _mark(record, group)
    if len(group) == 1:
        return Line(at=event.at, source=Source.LEDGER, who=_plain(who), what=_told(event), mark=mark)
    last = group[-1].event
    assert isinstance(last, Looked)
    minutes = f"{group[0].event.at:%H:%M:%S} to {last.at:%H:%M:%S}"
    reason = f"; the last: {last.reasons[0]}" if last.reasons else ""
    what = f"{len(group)} looks: {last.outcome}, {minutes}{reason}"
    return Line(
        at=event.at, source=Source.LEDGER, who=_plain(who), what=_plain(what), until=last.at, mark=mark
    )


def _mark(record: IncidentRecord, group: list[LedgerEntry]) -> str:
    """What is seen at a glance: harm, the rollback, the proof."""
    entry = group[0]
    if entry is record.incident.entry:
        return "rollback"
    if isinstance(entry.event, Looked) and entry.event.outcome == "fail":
        return "harm"
    return {"verified": "proof", "reverted": "proof"}.get(entry.event.kind, "")


def _behind(line: Line, back: float) -> Line:
    return Line(
        at=line.at,
        source=line.source,
        who=line.who,
        what=line.what,
        until=line.until,
        mark=line.mark,
        back_s=back,
    )


def _elsewhere(record: IncidentRecord) -> Iterator[tuple[datetime, Line]]:
    incident, event = record.incident, record.incident.event
    reverted = incident.reverted.commit if incident.reverted else None
    for commit in record.commits.values():
        what = "reverts it" if commit.id == reverted else "brings it"
        told = _plain(f"{commit.id[:12]} {what}: {commit.subject}")
        place = commit.at
        if commit.id == reverted and 0 < (event.at - place).total_seconds() < TOLERATED_S:
            place = event.at  # Git keeps whole seconds: it came behind what it reverts.
        yield place, Line(at=commit.at, source=Source.GIT, who=_plain(commit.author), what=told)
    for change in record.audit.changes if record.audit is not None else ():
        number = f"version {change.version}: " if change.version is not None else ""
        line = Line(
            at=change.at, source=Source.FLAG, who=_plain(change.by), what=_plain(number + change.said)
        )
        yield change.at, line
    if event.alert is not None:
        told = _plain(f"{event.alert.name} began to fire ({event.alert.fingerprint})")
        yield (
            event.alert.began,
            Line(at=event.alert.began, source=Source.ALERT, who=_NOBODY, what=told, mark="harm"),
        )
    if event.waited_since is not None:
        told = "the rollback was done; the ledger could not take it in yet"
        at = event.waited_since
        yield at, Line(at=at, source=Source.LEDGER, who=_plain(event.actor), what=told, mark="rollback")
    yield from _traffic(record)


def _traffic(record: IncidentRecord) -> Iterator[tuple[datetime, Line]]:
    for version in record.incident.gone:
        answered = record.traffic.answered.get(version.served_name) if record.traffic else None
        if answered is None:
            continue
        if answered.first_bad is not None:
            first = "its first bad answer" if record.traffic and record.traffic.whole else "a bad answer"
            yield _seen(answered.first_bad, f"{first} to a user ({version.served_name})", "harm")
        if answered.last_routed is not None:
            yield _seen(answered.last_routed, f"the last request to {version.served_name} that is known", "")


def _seen(at: datetime, what: str, mark: str) -> tuple[datetime, Line]:
    return at, Line(at=at, source=Source.METRICS, who=_NOBODY, what=what, mark=mark)


def _told(event: LedgerEvent) -> str:
    told, reason = tell(event), getattr(event, "reason", None)
    if reason is not None and not isinstance(event, RolledBack) and reason not in told:
        told += f": {reason}"
    if isinstance(event, RolledBack) and event.waited_since is not None:
        late = event.at - event.waited_since
        told += f" (recorded {max(late, timedelta()).total_seconds():.0f} s after it was done)"
    return _plain(told)


def _plain(text: str) -> str:
    return plain(text, _LONGEST, nothing=_NOBODY)
