"""Metrics whose series a metric's `source` names: counters and histograms of whoever exposes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rollout.core.marks import marks_of_histogram
from rollout.core.metric import Comparison, Counts, Kind, MetricSpec, Moments, Query, Samples
from rollout.core.observed import observed_histogram
from rollout.core.seen import scores_seen
from rollout.errors import MetricsUnavailable, Unsupported
from rollout.integrations.prometheus.expression import filled, named_by
from rollout.integrations.prometheus.histogram import Histogram, common_edges, histogram_of
from rollout.integrations.prometheus.increments import increments_alone, integer
from rollout.integrations.prometheus.scrapes import is_fresh
from rollout.integrations.prometheus.tracks import COUNT, SUM, VALUE, Track, Vector, whole
from rollout.integrations.prometheus.window import KNOWN_DAYS, Window

_MILLISECONDS = ("_milliseconds", "_milliseconds_bucket", "_ms", "_ms_bucket")


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the series of one expression counted, each by itself."""

    tracks: Sequence[Track]
    vectors: Sequence[Vector]

    def sum_of(self, key: str, what: str) -> int:
        """Of counters."""
        return sum(integer(vector.get(key, 0), what) for vector in self.vectors)


def samples_named(spec: MetricSpec, comparison: Comparison, window: Window) -> Samples:
    """What the expressions of `spec.source` counted of both arms. Raises Unsupported for what they cannot tell."""
    query = spec.source
    assert query is not None, "only a metric with a source names its series"
    match spec.kind:
        case Kind.RATE:
            return _rate(spec, query, comparison, window)
        case Kind.LATENCY:
            return _latency(spec, query, comparison, window)
        case Kind.SCORE:
            return _score(spec, query, comparison, window)


def _rate(spec: MetricSpec, query: Query, comparison: Comparison, window: Window) -> Samples:
    expressions = _needed(spec, query.total, "total"), _needed(spec, query.bad, "bad")
    stable, candidate = (
        _counts(spec, _Arm(served, comparison, window), *expressions)
        for served in (comparison.stable, comparison.candidate)
    )
    return window.samples(spec, stable, candidate)


def _counts(spec: MetricSpec, arm: _Arm, total: str, bad: str) -> Counts | None:
    """None where `total` does not show the arm, whatever `bad` does.

    Many a counter of what is bad is there from the first time that it happens, and goes with its replica: if it is
    not there, or not any more, beside a `total` that is, nothing bad has happened, or no more of it.
    """
    of_all, of_bad = arm.tracks(total), arm.tracks(bad)
    for expression, tracks, what in ((total, of_all, "total"), (bad, of_bad, "bad")):
        if not tracks:
            arm.refuse_unknown(spec, expression, what)
    seen = arm.counted(of_all, of_bad)
    if seen is None:
        return None
    every, wrong = seen[0].sum_of(VALUE, "`total`"), seen[1].sum_of(VALUE, "`bad`")
    if wrong > every:
        raise MetricsUnavailable(f"metric {spec.id}: `bad` rose by {wrong} and `total` by {every} only")
    return Counts(total=every, bad=wrong)


def _latency(spec: MetricSpec, query: Query, comparison: Comparison, window: Window) -> Samples:
    expression = _needed(spec, query.values, "values")
    stable, candidate = (
        _histogram(_Arm(served, comparison, window).seen(spec, expression))
        for served in (comparison.stable, comparison.candidate)
    )
    return latency_samples(spec, stable, candidate, window)


def latency_samples(
    spec: MetricSpec, stable: Histogram | None, candidate: Histogram | None, window: Window
) -> Samples:
    """The samples of a latency without classes of length; an arm that is None is missing."""
    counted = [_of_histogram(spec, each) for each in (stable, candidate)]
    if stable is None or candidate is None:
        return window.samples(spec, *counted)
    edges = common_edges(spec, (stable, candidate))
    theirs, ours = stable.counts(edges), candidate.counts(edges)
    return window.samples(
        spec,
        *counted,
        marks=marks_of_histogram(spec, edges, theirs, ours),
        observed=observed_histogram(spec, edges, theirs, ours),
    )


def _of_histogram(spec: MetricSpec, found: Histogram | None) -> Counts | None:
    if found is None:
        return None
    bad = 0 if spec.max_ms is None else found.beyond(spec.max_ms, "`max_ms`")
    return Counts(total=found.total, bad=bad)


def _score(spec: MetricSpec, query: Query, comparison: Comparison, window: Window) -> Samples:
    expression = _needed(spec, query.values, "values")
    stable, candidate = (
        _moments(spec, _Arm(served, comparison, window).seen(spec, expression))
        for served in (comparison.stable, comparison.candidate)
    )
    return score_samples(spec, stable, candidate, window)


def score_samples(
    spec: MetricSpec, stable: Moments | None, candidate: Moments | None, window: Window
) -> Samples:
    """The samples of a score; an arm that is None is missing."""
    if stable is not None and candidate is not None:
        found = scores_seen(spec, stable, candidate, since=window.since_edge, until=window.until_edge)
        return window.samples(
            spec, found.stable, found.candidate, moments=found.moments, observed=found.observed
        )
    counted = [None if each is None else Counts(total=each.number, bad=0) for each in (stable, candidate)]
    return window.samples(spec, *counted)


def _moments(spec: MetricSpec, seen: _Seen | None) -> Moments | None:
    """A sum and a number, without squares: of values between 0 and 1 these are at most the sum."""
    if seen is None:
        return None
    number, total = 0, 0.0
    for track, vector in zip(seen.tracks, seen.vectors, strict=True):
        name = track.label("__name__")
        if COUNT in vector:
            number, total = number + integer(vector[COUNT], "`values`"), total + vector.get(SUM, 0)
        elif name.endswith("_count"):
            number += integer(vector.get(VALUE, 0), "`values`")
        elif name.endswith("_sum"):
            total += vector.get(VALUE, 0)
        elif vector:
            raise Unsupported(
                f"metric {spec.id}: `values` selects {name}, which is neither the `_sum` nor the `_count` of scores",
                advice='For example {__name__=~"answer_score_(sum|count)",version="{served}"}',
            )
    if total > number + 1e-6:
        raise MetricsUnavailable(
            f"metric {spec.id}: {number} scores have the sum {total:g}: they are not between 0 and 1"
        )
    return Moments(number=number, sum=total, squares=total)


def _histogram(seen: _Seen | None) -> Histogram | None:
    if seen is None:
        return None
    in_ms = {track.label("__name__").endswith(_MILLISECONDS) for track in seen.tracks}
    if len(in_ms) > 1:
        raise Unsupported("`values` selects histograms of seconds and of milliseconds")
    return histogram_of(seen.vectors, unit_ms=1.0 if in_ms.pop() else 1000.0)


@dataclass(frozen=True, slots=True)
class _Arm:
    """One arm of a comparison within a window."""

    served: str
    comparison: Comparison
    window: Window

    def seen(self, spec: MetricSpec, expression: str) -> _Seen | None:
        """What the series of one expression counted; None where they do not show the arm."""
        tracks = self.tracks(expression)
        if not tracks:
            self.refuse_unknown(spec, expression, "values")
        counted = self.counted(tracks, [])
        return None if counted is None else counted[0]

    def tracks(self, expression: str) -> list[Track]:
        """The series of one expression."""
        return whole(self.window.tracks(self._filled(expression)))

    def counted(self, leading: Sequence[Track], others: Sequence[Track]) -> tuple[_Seen, _Seen] | None:
        """What series, and others beside them, counted; None where the leading ones are not there at the window's end."""
        window, tracks = self.window, [*leading, *others]
        ups = window.ups(tracks)
        if not any(is_fresh([at for at, _ in track.points], window.until) for track in leading):
            return None
        window.refuse_late(ups)
        window.refuse_emptied(leading)
        sights = window.sights(tracks, ups, leading)
        vectors = [
            increments_alone(track, sight, since=window.since, until=window.until)
            for track, sight in zip(tracks, sights, strict=True)
        ]
        return _Seen(leading, vectors[: len(leading)]), _Seen(others, vectors[len(leading) :])

    def refuse_unknown(self, spec: MetricSpec, expression: str, what: str) -> None:
        """Raise MetricsUnavailable where there has never been a series as an expression names it."""
        asked = named_by(self._filled(expression))
        if asked is None or not self.window.was_ever(asked):
            raise MetricsUnavailable(
                f"metric {spec.id}: `{what}` names series that Prometheus has not had in {KNOWN_DAYS} days:"
                f" {asked or expression}",
                advice="Is the name of the series or of a label misspelt? If it has just never happened, let the service"
                " show the counter with 0 from its beginning.",
            )

    def _filled(self, expression: str) -> str:
        window = self.window
        facts = {
            "name": self.comparison.name,
            "served": self.served,
            "stable": self.comparison.stable,
            "stage": self.comparison.stage.value,
            "since": f"{window.since:.3f}",
            "until": f"{window.until:.3f}",
        }
        return filled(expression, facts)


def _needed(spec: MetricSpec, expression: str | None, what: str) -> str:
    if expression is None:
        raise Unsupported(f"metric {spec.id}: its source has no `{what}` to ask a Prometheus for")
    return expression
