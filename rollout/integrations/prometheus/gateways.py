"""Metrics of the gateways' own series: what the traffic log would count, from what they count for a comparison."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from rollout.core.marks import marks_of_histogram
from rollout.core.metric import (
    Comparison,
    Counts,
    Event,
    Kind,
    Marks,
    Measure,
    MetricSpec,
    Moments,
    Samples,
    Score,
    Stage,
    Unit,
)
from rollout.errors import MetricsUnavailable, Unsupported
from rollout.integrations.prometheus.expression import selector
from rollout.integrations.prometheus.histogram import Histogram, common_edges, histogram_of
from rollout.integrations.prometheus.increments import increments_of, integer
from rollout.integrations.prometheus.named import latency_samples, score_samples
from rollout.integrations.prometheus.scrapes import (
    Scrape,
    Target,
    refuse_gaps,
    scrapes_of,
    target_of,
)
from rollout.integrations.prometheus.tracks import VALUE, Track, Vector, whole
from rollout.integrations.prometheus.window import Window

PREFIX = "rollout_gateway_"
TIMED_OUT = "timed out"
_RING = "ring"
_OWN = frozenset({"__name__", "name", "served", "keyed", "event", "per", "length", "le", "of"})
_SERIES: Mapping[Measure, str] = {
    Measure.END_TO_END: "compared_latency_seconds",
    Measure.FIRST_TOKEN: "compared_first_token_seconds",
    Measure.INTER_TOKEN: "compared_inter_token_seconds",
    Measure.PER_TOKEN: "compared_per_token_seconds",
}
_SCORED: Mapping[Score, Event] = {Score.FORMAT: Event.FORMAT_INVALID, Score.COMPLIANCE: Event.REFUSED}
_TOLERATED = 0.001
"""Units beyond what a gateway can remember, as a share of those that it counted."""


@dataclass(frozen=True, slots=True)
class _Row:
    """What one series of an arm counted within the window."""

    labels: Mapping[str, str]
    vector: Vector

    @property
    def value(self) -> float:
        """Of a counter."""
        return self.vector.get(VALUE, 0)


class GatewayLook:
    """What gateways counted of both arms within a window. `labels` select the gateways.

    Raises MetricsUnavailable where their scrapes cannot tell.
    """

    def __init__(self, comparison: Comparison, window: Window, labels: Mapping[str, str]) -> None:
        if comparison.stage is Stage.SHADOW:
            raise Unsupported(
                "a Prometheus cannot tell which copy belongs to which request: pairs are counted in the traffic log"
            )
        self._comparison = comparison
        self._window = window
        self._labels = labels

    def samples(self, spec: MetricSpec) -> Samples:
        """Of one metric. Raises Unsupported for what the gateways' series do not tell."""
        # First of all, for without them nothing that is missing tells anything.
        assert self._scrapes, "a window without scrapes is refused"
        match spec.kind:
            case Kind.RATE:
                return self._slow(spec) if spec.event is Event.SLOW else self._rate(spec)
            case Kind.LATENCY:
                return self._latency(spec)
            case Kind.SCORE:
                return self._score(spec)

    def _rate(self, spec: MetricSpec) -> Samples:
        assert spec.event is not None, "the metric has no source"
        at_100 = spec.event is Event.ERROR and self._comparison.stage is Stage.BAKE
        event = "error_at_100" if at_100 else spec.event.value
        if spec.per is Unit.UNIT_MINUTE:
            if spec.event is Event.THUMBS_DOWN:
                raise Unsupported(f"metric {spec.id}: gateways count words of users by request, not by unit")
            self._refuse_overflow()
        counted = [self._event(served, event, spec.per) for served in self._arms]
        return self._window.samples(spec, *counted)

    def _event(self, served: str, event: str, per: Unit = Unit.REQUEST) -> Counts | None:
        labels = {"event": event, "per": per.value}
        total = self._sum("compared_total", served, labels)
        bad = self._sum("compared_bad_total", served, labels)
        if total is None:
            return None
        # A unit counts on both sides of an edge that divides its minute: here once whole, and once as what went wrong.
        total = max(total, bad or 0) if per is Unit.UNIT_MINUTE else total
        if (bad or 0) > total:
            raise MetricsUnavailable(f"gateways counted {bad} bad ones of {total}, which is impossible")
        return Counts(total=total, bad=bad or 0)

    def _slow(self, spec: MetricSpec) -> Samples:
        if spec.per is Unit.UNIT_MINUTE:
            raise Unsupported(f"metric {spec.id}: gateways count times by request, not by unit")
        return self._window.samples(spec, *(self._slow_of(spec, served) for served in self._arms))

    def _slow_of(self, spec: MetricSpec, served: str) -> Counts | None:
        """Good answers, and whatever took longer than the limit."""
        assert spec.slow_after_ms is not None, "`slow` has its limit"
        if not self._is_there(served):
            return None
        lengths = self._by_length(_SERIES[Measure.END_TO_END], served)
        good = histogram_of(
            [each for length, vectors in lengths.items() if length != TIMED_OUT for each in vectors]
        )
        failed = histogram_of([row.vector for row in self._rows("compared_failed_seconds_bucket", served)])
        late = failed.beyond(spec.slow_after_ms, "`slow_after_ms`")
        return Counts(total=good.total + late, bad=good.beyond(spec.slow_after_ms, "`slow_after_ms`") + late)

    def _latency(self, spec: MetricSpec) -> Samples:
        assert spec.measure is not None, "the metric has no source"
        series = _SERIES[spec.measure]
        found = [self._by_length(series, served) if self._is_there(served) else None for served in self._arms]
        stable, candidate = (
            None
            if each is None
            else histogram_of([vector for vectors in each.values() for vector in vectors])
            for each in found
        )
        seen = latency_samples(spec, stable, candidate, self._window)
        if not spec.by_length or found[0] is None or found[1] is None:
            return seen
        marks = _marks_by_length(spec, found[0], found[1])
        return self._window.samples(spec, seen.stable, seen.candidate, marks=marks, observed=seen.observed)

    def _score(self, spec: MetricSpec) -> Samples:
        assert spec.score is not None, "the metric has no source"
        stable, candidate = (self._moments(spec.score, served) for served in self._arms)
        return score_samples(spec, stable, candidate, self._window)

    def _moments(self, score: Score, served: str) -> Moments | None:
        if score is not Score.FEEDBACK:
            counted = self._event(served, _SCORED[score].value)
            if counted is None:
                return None
            good = float(counted.total - counted.bad)
            return Moments(number=counted.total, sum=good, squares=good)
        if not self._is_there(served):
            return None
        found: Counter[str] = Counter()
        for row in self._rows("compared_scores_total", served):
            found[row.labels.get("of", "")] += row.value  # type: ignore[assignment]
        return Moments(
            number=integer(found["number"], "the number of scores"),
            sum=found["sum"],
            squares=found["squares"],
        )

    @property
    def _arms(self) -> tuple[str, str]:
        return self._comparison.stable, self._comparison.candidate

    def _by_length(self, series: str, served: str) -> dict[str, list[Vector]]:
        found: dict[str, list[Vector]] = {}
        for row in self._rows(f"{series}_bucket", served):
            found.setdefault(row.labels.get("length", ""), []).append(row.vector)
        return found

    def _is_there(self, served: str) -> bool:
        """Whether the gateways show this arm at all; if they do, what they do not show of it is none."""
        return (
            self._sum("compared_total", served, {"event": Event.ERROR.value, "per": Unit.REQUEST.value})
            is not None
        )

    def _sum(self, series: str, served: str, labels: Mapping[str, str]) -> int | None:
        rows = self._rows(series, served, labels)
        return sum(integer(row.value, series) for row in rows) if rows else None

    def _rows(self, series: str, served: str, labels: Mapping[str, str] | None = None) -> list[_Row]:
        """Of all gateways; of a canary's stable arm only what has a key, for nothing else is dealt at random.

        What a ring got is left out but for the time when there is nothing else.
        """
        of_keyed = self._comparison.stage is Stage.CANARY and served == self._comparison.stable
        wanted = {"name": self._comparison.name, "served": served, **(labels or {}), **self._labels}
        if of_keyed:
            wanted["keyed"] = "1"
        tracks = [
            track
            for track in whole(self._window.tracks(selector(f"{PREFIX}{series}", wanted)))
            if self._comparison.ring or track.labels.get("keyed") != _RING
        ]
        found = [(track, self._scrapes_of(track)) for track in tracks]
        return [
            _Row(
                track.labels,
                increments_of(track, scrapes, since=self._window.since, until=self._window.until),
            )
            for track, scrapes in found
            if track.points[-1][0]
            >= max((each.at for each in scrapes if each.at <= self._window.since), default=0)
        ]

    def _scrapes_of(self, track: Track) -> Sequence[Scrape]:
        try:
            return self._scrapes[target_of(track.labels, _OWN)]
        except KeyError:
            raise MetricsUnavailable(
                f"{track.label('__name__')} has other labels of its target than `{PREFIX}started_seconds`",
                advice="Let Prometheus keep the series of a gateway together, as they were scraped.",
            ) from None

    @cached_property
    def _scrapes(self) -> Mapping[Target, Sequence[Scrape]]:
        """Of each gateway; they tell what was counted in the window, or this is refused."""
        window = self._window
        tracks = window.tracks(selector(f"{PREFIX}started_seconds", self._labels))
        scrapes, ups = scrapes_of(tracks, _OWN), window.ups(tracks)
        refuse_gaps(scrapes, ups, since=window.since, until=window.until)
        window.refuse_late(ups)
        return scrapes

    def _refuse_overflow(self) -> None:
        """Raise MetricsUnavailable where gateways could not remember more units than hardly matter."""
        window = self._window
        tracks = window.tracks(selector(f"{PREFIX}compared_overflow_total", self._labels))
        lost = sum(
            increments_of(track, self._scrapes_of(track), since=window.since, until=window.until).get(
                VALUE, 0
            )
            for track in tracks
        )
        counted = sum(
            self._sum("compared_total", served, {"event": Event.ERROR.value, "per": Unit.REQUEST.value}) or 0
            for served in self._arms
        )
        if lost > _TOLERATED * counted:
            raise MetricsUnavailable(
                f"gateways could not tell the units of {lost:.0f} requests of this time, beside {counted} of these arms",
                advice="Judge by `per: request`, or count in the traffic log.",
            )


def _marks_by_length(
    spec: MetricSpec, stable: dict[str, list[Vector]], candidate: dict[str, list[Vector]]
) -> tuple[Marks, ...]:
    """Time-outs, whose length nobody knows, are among the commonest length of both arms together, as in the log."""
    arms = [{length: histogram_of(vectors) for length, vectors in arm.items()} for arm in (stable, candidate)]
    counted: Counter[str] = Counter()
    for arm in arms:
        counted.update(
            {length: each.total for length, each in arm.items() if length != TIMED_OUT and each.total}
        )
    commonest = min(counted, key=lambda length: (-counted[length], length), default="unknown length")
    for arm in arms:
        if late := arm.pop(TIMED_OUT, None):
            arm[commonest] = Histogram((*arm.get(commonest, Histogram(())).parts, *late.parts))
    return tuple(
        marks for length in sorted(arms[0].keys() & arms[1].keys()) for marks in _marks_of(spec, length, arms)
    )


def _marks_of(spec: MetricSpec, length: str, arms: Sequence[Mapping[str, Histogram]]) -> tuple[Marks, ...]:
    stable, candidate = (arm[length] for arm in arms)
    edges = common_edges(spec, (stable, candidate))
    return marks_of_histogram(spec, edges, stable.counts(edges), candidate.counts(edges), stratum=length)
