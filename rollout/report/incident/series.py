"""What is drawn of an incident: the share of what was taken back, traffic by version, and the judge's counts, over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from rollout.core.judge import Evidence
from rollout.core.lifecycle import Adopted, Lowered, RolledBack, Settled, Shifted, Started
from rollout.core.verdict import Outcome
from rollout.usecases.incident import IncidentRecord

GONE, OTHER, NEXT = "candidate", "champion", "base"
"""The looks of a line: what was taken back, what served beside it or since, and a third version."""
_MOST_METRICS = 2
_STEPS_S = (60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400)
_DAY_S = 86_400

Point = tuple[datetime, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """One line of a plot: its name, its look, and its points; `steps` stay until the next."""

    name: str
    look: str
    points: tuple[Point, ...]
    steps: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """One plot over time. Values are shares of 1 where `percent`, else numbers."""

    title: str
    lead: str
    lines: tuple[Drawn, ...]
    percent: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """The time that all plots show, and the moments that are marked in it."""

    since: datetime
    until: datetime
    marks: tuple[tuple[str, datetime], ...]

    @property
    def ticks(self) -> list[tuple[datetime, str]]:
        """Round times with their names in UTC, about six of them."""
        length = (self.until - self.since).total_seconds()
        step = next((step for step in _STEPS_S if length / step <= 6), None)
        if step is None:
            step = _DAY_S * -(-int(length) // (6 * _DAY_S))
        form = "%H:%M" if length <= _DAY_S else "%d %b %H:%M" if step < _DAY_S else "%d %b"
        first = -(-int(self.since.timestamp()) // step) * step
        times = range(first, int(self.until.timestamp()) + 1, step)
        return [(at := datetime.fromtimestamp(each, UTC), f"{at:{form}}") for each in times]


def axis(record: IncidentRecord) -> Axis:
    """From before the beginning to behind the end."""
    times, traffic = record.times, record.traffic
    marks = [("first sign", times.detected_at), ("rollback", times.decided_at)]
    if times.verified_at is not None:
        marks.append(("verified", times.verified_at))
    if traffic is not None:
        since, until = traffic.since, traffic.until
    else:
        ends = max(record.incident.ended_at, *(at for _, at in marks))
        begins = min(times.began_at or times.detected_at, times.detected_at)
        room = max((ends - begins) * 0.08, timedelta(minutes=1))
        since, until = begins - room, ends + room
    kept = [(name, at) for name, at in marks if since <= at <= until]
    return Axis(since=since, until=until, marks=tuple(kept))


def plots(record: IncidentRecord) -> list[Plot]:
    """All that there is something to draw of."""
    found = [_share(record), *_traffic(record), *_judged(record)]
    return [plot for plot in found if plot is not None and any(line.points for line in plot.lines)]


def shares(record: IncidentRecord) -> tuple[Point, ...]:
    """The share of users that got what was taken back, from each moment on."""
    bad = record.incident.event.bad
    points: list[Point] = []
    ours = False
    for entry in record.incident.story:
        event = entry.event
        match event:
            case Started(candidate=version) | Adopted(stable=version):
                ours = bad is not None and version.identity == bad.identity
                if ours:
                    points.append((event.at, 1.0 if isinstance(event, Adopted) else 0.0))
            case Shifted() | Lowered() if ours:
                points.append((event.at, event.share.fraction))
            case Settled() if ours:
                points.append((event.at, 1.0))
            case RolledBack() if event is record.incident.event:
                points.append((record.times.mitigated_at or event.at, 0.0))
    return tuple(sorted(points, key=lambda point: point[0]))


def looks_of(record: IncidentRecord) -> dict[str, str]:
    """Every served name that is drawn, with its look."""
    gone = [each.served_name for each in record.incident.gone]
    others = [each for each in (record.traffic.answered if record.traffic else ()) if each not in gone]
    looks = dict.fromkeys(gone, GONE)
    return looks | dict(zip(others, (OTHER, NEXT), strict=False))


def label(record: IncidentRecord, served: str) -> str:
    """A served name as short as it can be told: its version."""
    known = {each.served_name: each.version for each in record.incident.gone}
    if (stable := record.incident.stable) is not None:
        known[stable.served_name] = stable.version
    return known.get(served, served)


def _share(record: IncidentRecord) -> Plot | None:
    points = shares(record)
    if len(points) < 2 or not any(share for _, share in points):
        return None
    bad = record.incident.event.bad
    line = Drawn(name=bad.version if bad else "", look=GONE, points=points, steps=True)
    lead = "Share of users that the ledger says got what was taken back."
    return Plot(title="Share", lead=lead, lines=(line,), percent=True)


def _traffic(record: IncidentRecord) -> list[Plot]:
    traffic = record.traffic
    if traffic is None or not traffic.buckets:
        return []
    looks = looks_of(record)
    requests, bad = [], []
    for served, look in looks.items():
        buckets = [each for each in traffic.buckets if each.served == served]
        name = label(record, served)
        middle = timedelta(seconds=traffic.width_s / 2)
        by_minute = [(each.at + middle, each.requests * 60 / traffic.width_s) for each in buckets]
        wrong = [(each.at + middle, each.bad / each.requests) for each in buckets if each.requests]
        requests.append(Drawn(name=name, look=look, points=tuple(by_minute)))
        bad.append(Drawn(name=name, look=look, points=tuple(wrong)))
    width = f"{traffic.width_s // 60} min"
    return [
        Plot(
            title="Requests a minute",
            lead=f"Of users, by the version that answered, in steps of {width}.",
            lines=tuple(requests),
            percent=False,
        ),
        Plot(
            title="Bad answers",
            lead=f"Share of each version's requests that failed or had the wrong form, in steps of {width}.",
            lines=tuple(bad),
            percent=True,
        ),
    ]


def _judged(record: IncidentRecord) -> list[Plot]:
    """What the judge had counted at each look, of the metrics that failed; it begins anew with every step."""
    failed = [each.subject for each in record.found if each.outcome == Outcome.FAIL]
    found = []
    for metric in failed[:_MOST_METRICS]:
        seen = [(look.at, look.evidence[metric]) for look in record.incident.looks if metric in look.evidence]
        lines = [
            Drawn(name="taken back", look=GONE, points=_rates(seen, candidate=True)),
            Drawn(name="stable", look=OTHER, points=_rates(seen, candidate=False)),
        ]
        if max((len(line.points) for line in lines), default=0) < 2:
            continue
        lead = "Bad ones of what the judge had counted in the step, look by look."
        found.append(Plot(title=f"{metric}, as judged", lead=lead, lines=tuple(lines), percent=True))
    return found


def _rates(seen: Sequence[tuple[datetime, Evidence]], *, candidate: bool) -> tuple[Point, ...]:
    pairs = [
        (at, (each.candidate_bad, each.candidate) if candidate else (each.stable_bad, each.stable))
        for at, each in seen
    ]
    return tuple((at, bad / total) for at, (bad, total) in pairs if total)
