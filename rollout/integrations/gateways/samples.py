"""Samples as a gateway tells them, believed only where they can be true of the metric that was asked for."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from math import isfinite
from typing import Final

from pydantic import TypeAdapter, ValidationError

from rollout.core.metric import Alike, Clusters, Counts, Kind, Marks, MetricSpec, Moments, Samples, Test
from rollout.core.observed import quantile_name
from rollout.errors import MetricsUnavailable

_SAMPLES: Final = TypeAdapter(Samples)
_FIELDS: Final = frozenset(field.name for field in fields(Samples))
_LARGEST: Final = 2**53
_LONGEST: Final = 200
_CLOSE: Final = 1e-9
SAME_VERSION: Final = "Gateways and whoever asks them have the same version: bring the older one up to date."


def read_samples(who: str, body: bytes, spec: MetricSpec) -> Samples:
    """What `who` told. Raises MetricsUnavailable if it lacks a member, as an older version does: that is no zero."""
    _require_all_members(who, body)
    try:
        samples = _SAMPLES.validate_json(body, strict=True)
    except ValidationError as error:
        raise MetricsUnavailable(
            f"{who} answered something that is no samples: {error.error_count()} flaws"
        ) from error
    for complaint in _complaints(samples, spec):
        raise MetricsUnavailable(f"{who} answered something that cannot be: {complaint}")
    return samples


def _require_all_members(who: str, body: bytes) -> None:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise MetricsUnavailable(f"{who} answered something that is no JSON") from error
    if not isinstance(document, dict):
        raise MetricsUnavailable(f"{who} answered something that is no samples")
    if lacking := _FIELDS - document.keys():
        raise MetricsUnavailable(
            f"{who} says nothing of {', '.join(sorted(lacking))}, and to say nothing is not to say none",
            advice=SAME_VERSION,
        )
    if unknown := document.keys() - _FIELDS:
        raise MetricsUnavailable(
            f"{who} tells of {ascii(min(unknown))[:100]}, which is not known here", advice=SAME_VERSION
        )


def _complaints(samples: Samples, spec: MetricSpec) -> Iterator[str]:
    if any(arm is not None and arm.total > _LARGEST for arm in (samples.stable, samples.candidate)):
        yield "more requests than there can be"
    if samples.late < 0:
        yield "less than none was late"
    yield from _unreadable(samples)
    if spec.kind is not Kind.LATENCY and samples.marks:
        yield f"marks of a {spec.kind}"
    if spec.kind is not Kind.SCORE and (samples.differences or samples.moments is not None):
        yield f"values of a {spec.kind}"
    if spec.kind is not Kind.RATE and samples.clusters is not None:
        yield f"clusters of a {spec.kind}"
    arms = samples.stable, samples.candidate
    if not all(_are_possible(each, arm) for each, arm in zip(samples.clusters or (), arms, strict=False)):
        yield "clusters of requests that were not bad"
    yield from _impossible_heaps(samples, spec)
    yield from _impossible_marks(samples, spec)
    if spec.kind is Kind.LATENCY and not spec.by_length and _lacks_marks(samples, spec):
        yield "answers of both arms, and whose the slowest are of not all of what was asked for"
    if samples.alike and spec.kind is not Kind.SCORE:
        yield f"scores of users of a {spec.kind}"
    if spec.kind is Kind.SCORE:
        yield from _impossible_scores(samples)
        yield from _impossibly_alike(samples)


def _unreadable(samples: Samples) -> Iterator[str]:
    texts = (*samples.observed, *(marks.stratum for marks in samples.marks), *samples.query)
    if not all(text.isprintable() for text in texts) or any(
        len(text) > _LONGEST for text in samples.observed
    ):
        yield "words that nobody can read"
    if not all(each is None or isfinite(each) for both in samples.observed.values() for each in both):
        yield "a quantile or a mean that is no number"


def _are_possible(clusters: Clusters, arm: Counts | None) -> bool:
    within = arm is not None and 0 <= clusters.total <= arm.total and 0 <= clusters.bad <= arm.bad
    heaped = 0 <= clusters.alike <= clusters.others <= (_LARGEST if clusters.bad else 0)
    return within and clusters.bad <= clusters.total and heaped


def _impossible_heaps(samples: Samples, spec: MetricSpec) -> Iterator[str]:
    if samples.slow and spec.kind is not Kind.LATENCY:
        yield f"the slowest of a {spec.kind}"
    if samples.slow.keys() - {quantile_name(each) for each in spec.quantiles}:
        yield "the slowest of a quantile that was not asked for"
    arms = [arm and Counts(total=arm.total, bad=arm.total) for arm in (samples.stable, samples.candidate)]
    for both in samples.slow.values():
        if not all(_are_possible(each, arm) for each, arm in zip(both, arms, strict=True)):
            yield "clusters of more answers than there were"


def _impossible_marks(samples: Samples, spec: MetricSpec) -> Iterator[str]:
    if any(marks.quantile not in spec.quantiles for marks in samples.marks):
        yield "marks of a quantile that was not asked for"
    strata = Counter((marks.quantile, marks.test, marks.stratum) for marks in samples.marks)
    if any(number > 1 for number in strata.values()):
        yield "two marks of one stratum"
    for quantile, test in sorted({(marks.quantile, marks.test) for marks in samples.marks}):
        if not _fit(samples, quantile, test):
            yield "more marks than answers"


def _lacks_marks(samples: Samples, spec: MetricSpec) -> bool:
    if not all(arm is not None and arm.total for arm in (samples.stable, samples.candidate)):
        return False
    return len({(marks.quantile, marks.test) for marks in samples.marks}) < len(set(spec.quantiles)) * len(
        Test
    )


def _fit(samples: Samples, quantile: float, test: Test) -> bool:
    """Whether the strata of one quantile and question have no more answers than there were."""
    if samples.stable is None or samples.candidate is None:
        return False
    strata: list[Marks] = [
        marks for marks in samples.marks if (marks.quantile, marks.test) == (quantile, test)
    ]
    return (
        sum(marks.stable.total for marks in strata) <= samples.stable.total
        and sum(marks.candidate.total for marks in strata) <= samples.candidate.total
    )


def _impossible_scores(samples: Samples) -> Iterator[str]:
    totals = [arm and arm.total for arm in (samples.stable, samples.candidate)]
    if samples.differences:
        if samples.moments is not None or totals != [len(samples.differences)] * 2:
            yield "differences of other answers than there were"
    elif samples.moments is not None:
        if [arm.number for arm in samples.moments] != totals:
            yield "moments of other answers than there were"
        if not all(_is_of_scores(arm) for arm in samples.moments):
            yield "moments of what is no score"
    elif any(totals):
        yield "answers without their scores"


def _impossibly_alike(samples: Samples) -> Iterator[str]:
    if not samples.alike:
        return
    totals = [arm.total if arm else 0 for arm in (samples.stable, samples.candidate)]
    arms = totals[:1] if samples.differences else totals
    if len(samples.alike) != len(arms):
        yield "scores of users of other arms than there are"
    elif not all(_are_of_units(each, total) for each, total in zip(samples.alike, arms, strict=True)):
        yield "scores of users that cannot be"


def _are_of_units(seen: Alike, total: int) -> bool:
    """Whether so many values between -1 and 1 at most can have these sums, and no more others than there can be."""
    room = 1 + _CLOSE
    own = (
        seen.number <= total
        and abs(seen.sum) <= seen.number * room
        and 0 <= seen.squares <= seen.number * room
    )
    most = (seen.others + 1) * room if seen.others else 0.0
    return (
        own
        and seen.others <= (_LARGEST if seen.number else 0)
        and max(abs(seen.firsts), abs(seen.products)) <= most
    )


def _is_of_scores(moments: Moments) -> bool:
    """Whether values between 0 and 1 can have these sums."""
    room = 1 + _CLOSE
    return 0 <= moments.squares <= moments.sum * room <= moments.number * room**2
