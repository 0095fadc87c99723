"""Answers of both arms, made into the samples of a look."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import fsum, inf

from rollout.core.marks import marks_of_histogram
from rollout.core.metric import Counts, Kind, MetricSpec, Moments, Samples
from rollout.core.observed import observed_histogram
from rollout.core.query import asks_for_pairs, names_of
from rollout.core.seen import pairs_seen, scores_seen, times_seen
from rollout.integrations.providers.answer import Answer, Unanswered, number, shown, whole

_Histogram = tuple[Sequence[float], Sequence[int]]


def samples_of(
    spec: MetricSpec, since: str, until: str, *, stable: Callable[[], Answer], candidate: Callable[[], Answer]
) -> Samples:
    """What both arms answered of one metric. Raises Unanswered."""
    if asks_for_pairs(spec):
        return pairs_seen(spec, _paired(spec, candidate()), since=since, until=until)
    answers = (stable(), candidate())
    match spec.kind:
        case Kind.RATE:
            arms = [_counted(spec, answer) for answer in answers]
            return Samples(metric=spec.id, since=since, until=until, stable=arms[0], candidate=arms[1])
        case Kind.SCORE:
            name = _names(spec)[0]
            moments = [_moments(_scored(answer, name)) for answer in answers]
            return scores_seen(spec, *moments, since=since, until=until)
        case Kind.LATENCY if len(_names(spec)) == 2:
            return _histograms(spec, since, until, *(_buckets(spec, answer) for answer in answers))
        case Kind.LATENCY:
            # Time-outs have no number in an answer: whoever answers counts them with a metric of their own.
            times = [[(time, None) for time in _timed(spec, answer)] for answer in answers]
            return times_seen(spec, *times, since=since, until=until)


def _names(spec: MetricSpec) -> tuple[str, ...]:
    assert spec.source is not None
    return names_of(spec.source.values)


def _counted(spec: MetricSpec, answer: Answer) -> Counts:
    """Requests, and those that `bad` names. The sum over no rows is null in a database: of none, none are bad."""
    query = spec.source
    assert query is not None
    assert query.total is not None
    assert query.bad is not None
    total, bad = whole(answer.one(query.total), query.total), answer.one(query.bad)
    count = 0 if bad is None and total == 0 else whole(bad, query.bad)
    if count > total:
        raise Unanswered(f"{query.bad} is {count}, more than the {total} of {query.total}")
    return Counts(total=total, bad=count)


def _timed(spec: MetricSpec, answer: Answer) -> list[float]:
    (name,) = _names(spec)
    times = [number(each, name) for each in answer.many(name)]
    if negative := [each for each in times if each < 0]:
        raise Unanswered(f"{name} has the time {shown(negative[0])} ms")
    return times


def _beyond(spec: MetricSpec, times: Sequence[float], counts: Sequence[int]) -> Counts:
    """All, and those beyond `max_ms`: of a bucket that holds the limit all are, for nobody knows."""
    limit = inf if spec.max_ms is None else spec.max_ms
    return Counts(
        total=sum(counts), bad=sum(count for time, count in zip(times, counts, strict=True) if time > limit)
    )


def _buckets(spec: MetricSpec, answer: Answer) -> _Histogram:
    """Upper edges, rising to null, which is no limit; and as many counts, each of its own bucket only."""
    at, of = _names(spec)
    edges, counts = answer.many(at), [whole(each, of) for each in answer.many(of)]
    if len(edges) != len(counts) or not edges or edges[-1] is not None:
        raise Unanswered(
            f"{at} and {of} are no histogram: one count for each upper edge, the last edge being null"
        )
    found = [*(number(edge, at) for edge in edges[:-1]), inf]
    if found[0] <= 0 or any(later <= edge for edge, later in pairwise(found)):
        raise Unanswered(f"the edges {at} do not rise, or not from above 0")
    return found, counts


def _histograms(
    spec: MetricSpec, since: str, until: str, stable: _Histogram, candidate: _Histogram
) -> Samples:
    edges = stable[0]
    if edges != candidate[0] or edges[:-1] != list(spec.buckets or edges[:-1]):
        raise Unanswered(
            "the histograms of both arms do not have the same edges, or not the metric's `buckets`"
        )
    counts = (stable[1], candidate[1])
    return Samples(
        metric=spec.id,
        since=since,
        until=until,
        stable=_beyond(spec, edges, counts[0]),
        candidate=_beyond(spec, edges, counts[1]),
        marks=marks_of_histogram(spec, edges, *counts),
        observed=observed_histogram(spec, edges, *counts),
    )


def _scored(answer: Answer, name: str) -> list[float]:
    scores = [number(each, name) for each in answer.many(name)]
    if outside := [each for each in scores if not 0 <= each <= 1]:
        raise Unanswered(f"{name} has the score {shown(outside[0])}, which is not between 0 and 1")
    return scores


def _paired(spec: MetricSpec, answer: Answer) -> list[tuple[float, float]]:
    stable, candidate = (_scored(answer, name) for name in _names(spec))
    if len(stable) != len(candidate):
        raise Unanswered(f"{len(stable)} scores of stable and {len(candidate)} of the candidate are no pairs")
    return list(zip(stable, candidate, strict=True))


def _moments(scores: Sequence[float]) -> Moments:
    return Moments(number=len(scores), sum=fsum(scores), squares=fsum(each * each for each in scores))
