"""Metrics whose series a metric's `source` names: counters and histograms of whoever exposes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rollout.core.marks import marks_of_histogram
from rollout.core.metric import Comparison, Counts, Kind, MetricSpec, Moments, Query, Samples
from rollout.core.observed import observed_histogram
from rollout.core.seen import scores_seen
from rollout.errors import MetricsUnavailable, Unsupported
from rollout.integrations.prometheus.expression import filled
from rollout.integrations.prometheus.histogram import Histogram, common_edges, histogram_of
from rollout.integrations.prometheus.increments import increments_alone, integer
from rollout.integrations.prometheus.scrapes import is_fresh, place_of, times_up
from rollout.integrations.prometheus.tracks import COUNT, SUM, VALUE, Track, Vector, whole
from rollout.integrations.prometheus.window import Window

_MILLISECONDS = ("_milliseconds", "_milliseconds_bucket", "_ms", "_ms_bucket")


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the series of one expression counted, each by itself; empty if there is none of them."""

    tracks: Sequence[Track]
    vectors: Sequence[Vector]

    def sum_of(self, key: str, what: str) -> int | None:
        """Of counters; None if there is none."""
        if not self.vectors:
            return None
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
    stable, candidate = (
        _counts(
            spec,
            _seen(_needed(spec, query.total, "total"), served, comparison, window).sum_of(VALUE, "`total`"),
            _seen(_needed(spec, query.bad, "bad"), served, comparison, window).sum_of(VALUE, "`bad`"),
        )
        for served in (comparison.stable, comparison.candidate)
    )
    return window.samples(spec, stable, candidate)


def _counts(spec: MetricSpec, total: int | None, bad: int | None) -> Counts | None:
    """A series of bad ones that is not there yet had nothing to count; one of all that is not there is missing."""
    if total is None:
        return None
    if (bad or 0) > total:
        raise MetricsUnavailable(f"metric {spec.id}: `bad` rose by {bad} and `total` by {total} only")
    return Counts(total=total, bad=bad or 0)


def _latency(spec: MetricSpec, query: Query, comparison: Comparison, window: Window) -> Samples:
    expression = _needed(spec, query.values, "values")
    stable, candidate = (
        _histogram(_seen(expression, served, comparison, window))
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
        _moments(spec, _seen(expression, served, comparison, window))
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


def _moments(spec: MetricSpec, seen: _Seen) -> Moments | None:
    """A sum and a number, without squares: of values between 0 and 1 these are at most the sum."""
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
    if not seen.tracks:
        return None
    if total > number + 1e-6:
        raise MetricsUnavailable(
            f"metric {spec.id}: {number} scores have the sum {total:g}: they are not between 0 and 1"
        )
    return Moments(number=number, sum=total, squares=total)


def _histogram(seen: _Seen) -> Histogram | None:
    if not seen.tracks:
        return None
    in_ms = {track.label("__name__").endswith(_MILLISECONDS) for track in seen.tracks}
    if len(in_ms) > 1:
        raise Unsupported("`values` selects histograms of seconds and of milliseconds")
    return histogram_of(seen.vectors, unit_ms=1.0 if in_ms.pop() else 1000.0)


def _seen(expression: str, served: str, comparison: Comparison, window: Window) -> _Seen:
    facts = {
        "name": comparison.name,
        "served": served,
        "stable": comparison.stable,
        "stage": comparison.stage.value,
        "since": f"{window.since:.3f}",
        "until": f"{window.until:.3f}",
    }
    tracks = whole(window.tracks(filled(expression, facts)))
    ups = window.ups(tracks)
    if not any(is_fresh([at for at, _ in track.points], window.until) for track in tracks):
        return _Seen((), ())
    window.refuse_emptied(tracks)
    times = times_up(ups)
    scraped = [times.get(place_of(track.labels), []) for track in tracks]
    vectors = [
        increments_alone(track, at, since=window.since, until=window.until)
        for track, at in zip(tracks, scraped, strict=True)
    ]
    return _Seen(tracks, vectors)


def _needed(spec: MetricSpec, expression: str | None, what: str) -> str:
    if expression is None:
        raise Unsupported(f"metric {spec.id}: its source has no `{what}` to ask a Prometheus for")
    return expression
