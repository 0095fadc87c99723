"""Where series come from: when that was scraped, and when what counts there began."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from rollout.integrations.prometheus.scrapes import (
    LOOKBACK_S,
    PATIENCE_S,
    Place,
    place_of,
    times_tried,
    times_up,
)
from rollout.integrations.prometheus.tracks import VALUE, Track

PROCESS_START = "process_start_time_seconds"
_SAME_S = 2.0
"""A process tells its start from the machine's, which is corrected now and then."""

Starts = Sequence[tuple[float, float]]
"""(time of a sample, start that it tells) in their order; Unix seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What is known of the target of one series. Times are Unix seconds in their order.

    `scraped` is when it answered, `tried` when it was asked. `process` tells when its process had begun, `created` when
    this series had. `joined` tells of a target that nobody had asked before whether others of its job were.
    """

    scraped: Sequence[float] = ()
    tried: Sequence[float] = ()
    process: Starts = ()
    created: Starts = ()
    joined: Callable[[], bool] = field(default=bool, repr=False)

    def began_with(self, first: float, *, since: float) -> bool:
        """Whether all that the first sample of a series has, at `first`, came about since then."""
        if (created := _at(self.created, first)) is not None:
            return created > since - PATIENCE_S
        if bisect_left(self.scraped, first):
            return True
        if (process := _at(self.process, first)) is not None:
            return process > since - PATIENCE_S
        return not bisect_right(self.tried, since) and self.joined()

    def began_anew(self, before: float, after: float, *, rose: bool) -> bool:
        """Whether the series of a sample is another one than that of the sample before it, though it is not lower.

        A series that is as high as before is another one if it had vanished: its target answered without it, or did not
        answer for longer than Prometheus itself looks back. Nobody asked where Prometheus was away, and nobody can tell.
        """
        for starts in (self.created, self.process):
            one, other = _at(starts, before), _at(starts, after)
            if one is not None and other is not None:
                return abs(one - other) > _SAME_S
        return not rose and self._vanished(before, after)

    def _vanished(self, before: float, after: float) -> bool:
        aligned = _has(self.scraped, before) and _has(self.scraped, after)
        if aligned and _between(self.scraped, before, after):
            return True
        asked = not self.tried or _between(self.tried, before, after)
        return asked and after - before > LOOKBACK_S


def sights_of(
    tracks: Iterable[Track],
    *,
    ups: Sequence[Track],
    starts: Sequence[Track],
    created: Sequence[Track],
    joined: Callable[[Place], bool],
    beside: Sequence[Track] = (),
) -> list[Sight]:
    """What is known of the target of each series; `joined` tells whether a target joined a job that was scraped before.

    Where no `up` tells when a target answered, the series `beside` do, which it shows as well.
    """
    scraped, tried = times_up(ups), times_tried(ups)
    processes = _processes(starts)
    births = {_series(track, track.label("__name__")): _starts(track) for track in created}

    def of(track: Track) -> Sight:
        place = place_of(track.labels)
        return Sight(
            scraped=scraped.get(place) or _times_beside(track, beside),
            tried=tried.get(place, ()),
            process=processes.get(place, ()),
            created=births.get(_series(track, created_name(track.label("__name__"))), ()),
            joined=lambda: place[0] != "" and joined(place),
        )

    return [of(track) for track in tracks]


def _processes(starts: Sequence[Track]) -> dict[Place, Starts]:
    """The starts of each place, but of those that tell several at once: nobody knows which of them counts."""
    found: dict[Place, dict[float, float]] = {}
    unclear: set[Place] = set()
    for track in starts:
        place = place_of(track.labels)
        told = found.setdefault(place, {})
        for at, started in _starts(track):
            if abs(told.setdefault(at, started) - started) > _SAME_S:
                unclear.add(place)
    return {place: sorted(told.items()) for place, told in found.items() if place not in unclear}


def created_name(name: str) -> str:
    """The series that tells when a counter or a histogram began, as OpenMetrics calls it."""
    for suffix in ("_total", "_bucket", "_count", "_sum"):
        name = name.removesuffix(suffix)
    return f"{name}_created"


def _starts(track: Track) -> Starts:
    return [(at, vector[VALUE]) for at, vector in track.points if VALUE in vector]


def _series(track: Track, name: str) -> frozenset[tuple[str, str]]:
    return frozenset({**_own(track), "__name__": name}.items())


def _own(track: Track) -> dict[str, str]:
    return {name: value for name, value in track.labels.items() if name not in ("__name__", "le")}


def _times_beside(track: Track, beside: Sequence[Track]) -> Sequence[float]:
    """When any series was seen that differs in none of the labels that both have."""
    mine = _own(track)
    alike = [
        each for each in beside if all(mine.get(name, value) == value for name, value in _own(each).items())
    ]
    return sorted({at for each in alike for at, _ in each.points})


def _at(starts: Starts, at: float) -> float | None:
    place = bisect_right(starts, at, key=lambda each: each[0])
    return starts[place - 1][1] if place else None


def _has(times: Sequence[float], at: float) -> bool:
    place = bisect_left(times, at)
    return place < len(times) and times[place] == at


def _between(times: Sequence[float], before: float, after: float) -> bool:
    return bisect_right(times, before) < bisect_left(times, after)
