"""What a look saw of a latency, or of a score, made of what single answers had."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import isfinite

from rollout.core.marks import length_class, marks_of_values
from rollout.core.metric import Counts, Marks, MetricSpec, Moments, Samples
from rollout.core.observed import observed_values

Timed = tuple[float, int | None]
"""An answer's milliseconds (`inf` of a time-out), and the tokens by which others are of like length."""
MEAN = "mean"


def times_seen(
    spec: MetricSpec, stable: Sequence[Timed], candidate: Sequence[Timed], *, since: str, until: str
) -> Samples:
    """The samples of a latency. Answers beyond `max_ms` are bad; without one none is."""
    return Samples(
        metric=spec.id,
        since=since,
        until=until,
        stable=_counts(spec, stable),
        candidate=_counts(spec, candidate),
        marks=_marks(spec, stable, candidate),
        observed=observed_values(spec, _milliseconds(stable), _milliseconds(candidate)),
    )


def scores_seen(spec: MetricSpec, stable: Moments, candidate: Moments, *, since: str, until: str) -> Samples:
    """The samples of a score whose answers are not pairs."""
    return Samples(
        metric=spec.id,
        since=since,
        until=until,
        stable=Counts(total=stable.number, bad=0),
        candidate=Counts(total=candidate.number, bad=0),
        moments=(stable, candidate),
        observed={MEAN: (_mean(stable.sum, stable.number), _mean(candidate.sum, candidate.number))},
    )


def pairs_seen(spec: MetricSpec, pairs: Sequence[tuple[float, float]], *, since: str, until: str) -> Samples:
    """The samples of a score of pairs (stable's, candidate's), whose order is kept."""
    counts = Counts(total=len(pairs), bad=0)
    sums = sum(stable for stable, _ in pairs), sum(candidate for _, candidate in pairs)
    return Samples(
        metric=spec.id,
        since=since,
        until=until,
        stable=counts,
        candidate=counts,
        differences=tuple(candidate - stable for stable, candidate in pairs),
        observed={MEAN: (_mean(sums[0], len(pairs)), _mean(sums[1], len(pairs)))},
    )


def _counts(spec: MetricSpec, answers: Sequence[Timed]) -> Counts:
    limit = spec.max_ms
    bad = 0 if limit is None else sum(each > limit for each, _ in answers)
    return Counts(total=len(answers), bad=bad)


def _marks(spec: MetricSpec, stable: Sequence[Timed], candidate: Sequence[Timed]) -> tuple[Marks, ...]:
    if not spec.by_length:
        return marks_of_values(spec, _milliseconds(stable), _milliseconds(candidate))
    commonest = commonest_length((*stable, *candidate))
    theirs, ours = _by_length(stable, commonest), _by_length(candidate, commonest)
    return tuple(
        marks
        for length in sorted(theirs.keys() & ours.keys())
        for marks in marks_of_values(spec, theirs[length], ours[length], stratum=length)
    )


def _by_length(answers: Sequence[Timed], commonest: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for each, tokens in answers:
        found.setdefault(length_class(tokens) if isfinite(each) else commonest, []).append(each)
    return found


def commonest_length(answers: Sequence[Timed]) -> str:
    """Where time-outs count, whose length nobody knows: among as many others as there are.

    By themselves all of them would be equal, and say nothing. It is a matter of both arms' answers together, so that
    whose they are stays a matter of chance where the arms are alike.
    """
    lengths = Counter(length_class(tokens) for each, tokens in answers if isfinite(each))
    return min(lengths, key=lambda length: (-lengths[length], length), default=length_class(None))


def _milliseconds(answers: Sequence[Timed]) -> list[float]:
    return [each for each, _ in answers]


def _mean(total: float, number: int) -> float | None:
    return total / number if number else None
