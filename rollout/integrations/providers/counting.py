"""Answers of both arms, made into the samples of a look."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import fsum, inf

from rollout.core.marks import marks_of_histogram, marks_of_values
from rollout.core.metric import Counts, Kind, MetricSpec, Moments, Samples
from rollout.core.observed import observed_histogram, observed_values
from rollout.core.query import asks_for_pairs, names_of
from rollout.integrations.providers.answer import Answer, Unanswered, number, whole

_Histogram = tuple[Sequence[float], Sequence[int]]


def samples_of(
    spec: MetricSpec, since: str, until: str, *, stable: Callable[[], Answer], candidate: Callable[[], Answer]
) -> Samples:
    """What both arms answered of one metric. Raises Unanswered."""
    if asks_for_pairs(spec):
        return _pairs(spec, since, until, candidate())
    if spec.kind is Kind.RATE:
        arms = [_counted(spec, answer()) for answer in (stable, candidate)]
        return Samples(metric=spec.id, since=since, until=until, stable=arms[0], candidate=arms[1])
    if spec.kind is Kind.SCORE:
        return _scores(spec, since, until, *(_scored(spec, answer()) for answer in (stable, candidate)))
    if len(_names(spec)) == 2:
        return _histograms(spec, since, until, *(_buckets(spec, answer()) for answer in (stable, candidate)))
    return _times(spec, since, until, *(_timed(spec, answer()) for answer in (stable, candidate)))


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
        raise Unanswered(f"{name} has the time {negative[0]:g} ms")
    return times


def _times(
    spec: MetricSpec, since: str, until: str, stable: Sequence[float], candidate: Sequence[float]
) -> Samples:
    return Samples(
        metric=spec.id,
        since=since,
        until=until,
        stable=_beyond(spec, stable, [1] * len(stable)),
        candidate=_beyond(spec, candidate, [1] * len(candidate)),
        marks=marks_of_values(spec, stable, candidate),
        observed=observed_values(spec, stable, candidate),
    )


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


def _scored(spec: MetricSpec, answer: Answer, name: str | None = None) -> list[float]:
    name = name or _names(spec)[0]
    scores = [number(each, name) for each in answer.many(name)]
    if outside := [each for each in scores if not 0 <= each <= 1]:
        raise Unanswered(f"{name} has the score {outside[0]:g}, which is not between 0 and 1")
    return scores


def _scores(
    spec: MetricSpec, since: str, until: str, stable: Sequence[float], candidate: Sequence[float]
) -> Samples:
    return Samples(
        metric=spec.id,
        since=since,
        until=until,
        stable=Counts(total=len(stable), bad=0),
        candidate=Counts(total=len(candidate), bad=0),
        moments=(_moments(stable), _moments(candidate)),
        observed={"mean": (_mean(stable), _mean(candidate))},
    )


def _pairs(spec: MetricSpec, since: str, until: str, answer: Answer) -> Samples:
    stable, candidate = (_scored(spec, answer, name) for name in _names(spec))
    if len(stable) != len(candidate):
        raise Unanswered(f"{len(stable)} scores of stable and {len(candidate)} of the candidate are no pairs")
    arm = Counts(total=len(stable), bad=0)
    return Samples(
        metric=spec.id,
        since=since,
        until=until,
        stable=arm,
        candidate=arm,
        differences=tuple(mine - theirs for theirs, mine in zip(stable, candidate, strict=True)),
        observed={"mean": (_mean(stable), _mean(candidate))},
    )


def _moments(scores: Sequence[float]) -> Moments:
    return Moments(number=len(scores), sum=fsum(scores), squares=fsum(each * each for each in scores))


def _mean(scores: Sequence[float]) -> float | None:
    return fsum(scores) / len(scores) if scores else None
