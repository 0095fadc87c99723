"""One look at a Prometheus: what is asked between two edges, and the samples that come of it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from rollout.core.metric import Counts, Marks, MetricSpec, Moments, Samples
from rollout.errors import MetricsUnavailable
from rollout.integrations.prometheus.api import PrometheusApi
from rollout.integrations.prometheus.expression import selector
from rollout.integrations.prometheus.scrapes import LOOKBACK_S, place_of, refuse_down
from rollout.integrations.prometheus.tracks import Track, odd_value

_EDGE = re.compile(r"prometheus@([0-9]{1,11}\.[0-9]{3})")
_MOST_PLACES = 200


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
        found = self.api.tracks(asked, since=self.since - LOOKBACK_S, until=self.until)
        if (odd := odd_value(found)) is not None:
            raise MetricsUnavailable(f"{asked[:200]} holds {odd}, which no counter does")
        return found

    def ups(self, tracks: Sequence[Track]) -> list[Track]:
        """`up` of where these series come from, which tells when that was tried to be scraped.

        Raises MetricsUnavailable where the last try failed: it may be counting unseen.
        """
        places = sorted({place_of(track.labels) for track in tracks} - {("", "")})
        if not places:
            return []
        asked = selector("up", {"instance": tuple(place for _, place in places[:_MOST_PLACES])})
        refuse_down(self.api.standing(asked, at=self.until), places)
        return self.api.tracks(asked, since=self.since - LOOKBACK_S, until=self.until)

    def refuse_emptied(self, tracks: Collection[Track]) -> None:
        """Raise MetricsUnavailable unless Prometheus has anything from before the window."""
        if any(track.points[0][0] <= self.since for track in tracks):
            return
        if not self.api.tracks("up", since=self.since - LOOKBACK_S, until=self.since):
            raise MetricsUnavailable(
                "Prometheus has nothing from before the look: its data were lost, or it was not running",
                advice="What was counted there is not known. A step that begins anew begins with what is there now.",
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
