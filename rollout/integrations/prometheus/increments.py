"""How far counters rose between two times: whole numbers of what was seen, nothing extrapolated.

`increase()` of Prometheus stretches what it saw to the ends of its window, so that it answers 10.3 requests; and it
leaves out the first value of a series. Both would make counts that no exact test can take.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import inf

from rollout.errors import MetricsUnavailable
from rollout.integrations.prometheus.resolution import folded, onto
from rollout.integrations.prometheus.scrapes import Scrape
from rollout.integrations.prometheus.targets import Sight
from rollout.integrations.prometheus.tracks import SUM, Key, Point, Track, Vector

_CLOSE = 1e-6


def increments_of(track: Track, scrapes: Sequence[Scrape], *, since: float, until: float) -> Vector:
    """What a series of a gateway counted in (since, until], from the scrapes of that gateway.

    A scrape without the series is one of a process that had counted nothing; a process that began is known by its
    start, even if its counter is higher than that of the one before.
    """
    points = dict(track.points)
    found: Counter[Key] = Counter()
    base = max((scrape.at for scrape in scrapes if scrape.at <= since), default=-inf)
    known: tuple[float, Vector] = (-inf, {})
    for scrape in scrapes:
        if scrape.at > until:
            break
        vector = points.get(scrape.at, {})
        if scrape.at > base:
            before = known[1] if known[0] == scrape.started else {}
            _add(found, before, vector)
        known = scrape.started, vector
    return folded(found)


def increments_alone(track: Track, sight: Sight, *, since: float, until: float) -> Vector:
    """What a series that somebody else exposes counted in (since, until].

    A series that begins, or begins anew, counts from 0. Of one that may be older than the window nobody knows how much
    of its first value is new, and that is left out.
    """
    found: Counter[Key] = Counter()
    last: Point | None = None
    for at, vector in track.points:
        if since < at <= until and (before := _before(last, (at, vector), sight, since=since)) is not None:
            _add(found, before, vector)
        last = at, vector
    return folded(found)


def integer(value: float, what: str) -> int:
    """A count as the whole number it is. Raises MetricsUnavailable if it is none."""
    if abs(value - round(value)) > _CLOSE * max(1.0, abs(value)):
        raise MetricsUnavailable(f"{what} rose by {value:g}, which is no count of anything")
    return round(value)


def _before(last: Point | None, point: Point, sight: Sight, *, since: float) -> Vector | None:
    """What stood before a sample; None if nobody knows."""
    at, vector = point
    if last is None:
        return {} if sight.began_with(at, since=since) else None
    return {} if sight.began_anew(last[0], at, rose=vector != last[1]) else last[1]


def _add(found: Counter[Key], before: Vector, vector: Vector) -> None:
    if not vector:
        return
    before = onto(before, vector)
    if any(vector.get(key, 0) < value for key, value in before.items() if key != SUM):
        before = {}
    for key, value in vector.items():
        found[key] += value - before.get(key, 0)  # type: ignore[assignment]
