"""One look at a Prometheus: what is asked between two edges, and the samples that come of it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

from rollout.core.metric import Counts, Marks, MetricSpec, Moments, Samples
from rollout.errors import MetricsUnavailable
from rollout.integrations.prometheus.api import PrometheusApi
from rollout.integrations.prometheus.expression import selector
from rollout.integrations.prometheus.scrapes import LOOKBACK_S, LOST_FOR_GOOD, Place, place_of, refuse_down
from rollout.integrations.prometheus.targets import PROCESS_START, Sight, created_name, sights_of
from rollout.integrations.prometheus.tracks import VALUE, Track, odd_value

_EDGE = re.compile(r"prometheus@([0-9]{1,11}\.[0-9]{3})")
_MOST_PLACES = 200
_SOON_S, _SCRAPES = 10.0, 2
_DAY = "1d"
KNOWN_DAYS = 31
"""How far back a name is looked for that nothing has now."""


@dataclass(frozen=True, slots=True)
class Window:
    """What is asked of (since, until]; `queries` are what was asked so far."""

    api: PrometheusApi
    since_edge: str
    until_edge: str
    queries: list[str] = field(default_factory=list)

    @property
    def since(self) -> float:
        """Unix seconds."""
        return time_of(self.since_edge)

    @property
    def until(self) -> float:
        """Unix seconds."""
        return time_of(self.until_edge)

    def tracks(self, asked: str) -> list[Track]:
        """The series that a selector selects, with what stood there before the window.

        Raises MetricsUnavailable where they hold what no counter can hold.
        """
        length_ms = round((self.until - self.since + LOOKBACK_S) * 1000)
        self.queries.append(f"{asked}[{length_ms}ms] @ {self.until:.3f}")
        found = self._tracks(asked)
        if (odd := odd_value(found)) is not None:
            raise MetricsUnavailable(f"{asked[:200]} holds {odd}, which no counter does")
        return found

    def ups(self, tracks: Sequence[Track]) -> list[Track]:
        """`up` of where these series come from, which tells when that was tried to be scraped.

        Raises MetricsUnavailable where the last try failed: it may be counting unseen.
        """
        places = {place_of(track.labels) for track in tracks} - {("", "")}
        found: list[Track] = []
        for asked in self._of_places("up", places):
            refuse_down(self.api.standing(asked, at=self.until), places)
            found += self._tracks(asked)
        return found

    def sights(self, tracks: Sequence[Track], ups: Sequence[Track], beside: Sequence[Track]) -> list[Sight]:
        """What is known of the target of each series. `beside` are others of the same targets."""
        places = {place_of(track.labels) for track in tracks} - {("", "")}
        starts = [track for asked in self._of_places(PROCESS_START, places) for track in self._tracks(asked)]
        known = {place_of(track.labels) for track in starts}
        unclear = [track for track in tracks if place_of(track.labels) not in known]
        return sights_of(
            tracks,
            ups=ups,
            starts=starts,
            created=self._created(unclear),
            joined=self._is_new,
            beside=beside,
        )

    def _created(self, tracks: Sequence[Track]) -> list[Track]:
        """When these series began, where somebody tells."""
        names = {created_name(track.label("__name__")) for track in tracks}
        if not names:
            return []
        alike = set.intersection(*(set(track.labels.items()) for track in tracks))
        common = {name: value for name, value in sorted(alike) if name not in ("__name__", "le")}
        return self._tracks(selector("", {"__name__": tuple(sorted(names)), **common}))

    def _is_new(self, place: Place) -> bool:
        """Whether a target that nobody asked lately joined a job that was scraped: it was not asked for a day."""
        job, instance = place
        of_place = selector("up", {"job": job, "instance": instance})
        return self._is_there(f"count({selector('up', {'job': job})})") and not self._is_there(
            f"count_over_time({of_place}[{_DAY}])"
        )

    def _is_there(self, query: str) -> bool:
        return bool(self.api.standing(query, at=self.since))

    def _of_places(self, series: str, places: Collection[Place]) -> Iterator[str]:
        instances = sorted({instance for _, instance in places})
        for first in range(0, len(instances), _MOST_PLACES):
            yield selector(series, {"instance": tuple(instances[first : first + _MOST_PLACES])})

    def _tracks(self, asked: str) -> list[Track]:
        return self.api.tracks(asked, since=self.since - LOOKBACK_S, until=self.until)

    def refuse_late(self, ups: Sequence[Track]) -> None:
        """Raise MetricsUnavailable where scrapes of the window's end are not stored yet, by how often they come.

        What is stored behind a look falls between it and the next one. A scrape that failed is stored as well.
        """
        gaps = [later[0] - one[0] for track in ups for one, later in pairwise(track.points)]
        if not gaps or not (newest := self.api.standing("max(timestamp(up))", at=self.until)):
            return
        behind, every = self.until - newest[0].points[-1][1][VALUE], median(gaps)
        if behind > max(_SOON_S, _SCRAPES * every):
            raise MetricsUnavailable(
                f"the newest scrape that Prometheus tells of is {behind:.0f} s before the end of the look, and one comes"
                f" every {every:g} s: what is stored late is not there yet",
                advice="Looks go on once it is. The provider's `lag` is to be longer than it takes until a scrape can be"
                " asked for.",
            )

    def was_ever(self, asked: str) -> bool:
        """Whether a selector has selected any series in the last KNOWN_DAYS."""
        return self.api.is_known(asked, since=self.until - KNOWN_DAYS * 86_400, until=self.until)

    def refuse_emptied(self, tracks: Collection[Track]) -> None:
        """Raise MetricsUnavailable unless Prometheus has anything from before the window."""
        if any(track.points[0][0] <= self.since for track in tracks):
            return
        if not self._is_there("count(up)"):
            raise MetricsUnavailable(
                "Prometheus has nothing from before the look: its data were lost, or it was not running;"
                f" {LOST_FOR_GOOD}",
                advice="What was counted there is not known, and nothing is judged by it.",
            )

    def samples(
        self,
        spec: MetricSpec,
        stable: Counts | None,
        candidate: Counts | None,
        *,
        marks: tuple[Marks, ...] = (),
        moments: tuple[Moments, Moments] | None = None,
        observed: Mapping[str, tuple[float | None, float | None]] | None = None,
    ) -> Samples:
        """The samples of this window, with what was asked."""
        return Samples(
            metric=spec.id,
            since=self.since_edge,
            until=self.until_edge,
            stable=stable,
            candidate=candidate,
            marks=marks,
            moments=moments,
            observed=observed or {},
            query=tuple(dict.fromkeys(self.queries)),
        )


def edge_of(time: float) -> str:
    """A time, in Unix seconds, as an edge."""
    return f"prometheus@{time:.3f}"


def time_of(edge: str) -> float:
    """The time of an edge. Raises MetricsUnavailable for what is none."""
    if (found := _EDGE.fullmatch(edge)) is None:
        raise MetricsUnavailable(f"{edge[:100]!r} is not an edge of a Prometheus")
    return float(found[1])
