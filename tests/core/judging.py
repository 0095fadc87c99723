"""Metrics of each kind and looks at them, for the tests of the judge."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rollout.core.judge import Evidence, judge, observe
from rollout.core.marks import marks_of_values
from rollout.core.metric import Counts, MetricSpec, Moments, Samples, Stage
from rollout.core.observed import observed_values
from rollout.core.verdict import Verdict

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
_COMMON = {
    "schema": "adapter-rollout/metric/v1",
    "title": "as it is",
    "min_samples": 50,
    "on_missing": "inconclusive",
    "stages": ["shadow", "canary", "bake"],
}


def rate(**fields: Any) -> MetricSpec:
    known = {"id": "errors", "kind": "rate", "event": "error", "direction": "lower_is_better"}
    proof = {} if {"max_abs", "max_odds"} & fields.keys() else {"max_abs": 0.02}
    return MetricSpec.model_validate(_COMMON | known | proof | fields)


def latency(**fields: Any) -> MetricSpec:
    known = {"id": "wait", "kind": "latency", "measure": "end_to_end", "direction": "lower_is_better"}
    return MetricSpec.model_validate(_COMMON | known | {"max_ratio": 1.2} | fields)


def score(**fields: Any) -> MetricSpec:
    known = {"id": "taste", "kind": "score", "score": "format", "direction": "higher_is_better"}
    return MetricSpec.model_validate(_COMMON | known | {"max_abs": 0.05} | fields)


def counted(stable: tuple[int, int] | None, candidate: tuple[int, int] | None, **fields: Any) -> Samples:
    """Pairs are (all, bad)."""
    return Samples(
        metric="errors", since="0", until="1", stable=_counts(stable), candidate=_counts(candidate), **fields
    )


def timed(spec: MetricSpec, stable: Sequence[float], candidate: Sequence[float]) -> Samples:
    return counted(
        (len(stable), 0),
        (len(candidate), 0),
        marks=marks_of_values(spec, stable, candidate),
        observed=observed_values(spec, stable, candidate),
    )


def paired(*differences: float) -> Samples:
    number = len(differences)
    return counted((number, 0), (number, 0), differences=differences)


def averaged(stable: Sequence[float], candidate: Sequence[float]) -> Samples:
    return counted((len(stable), 0), (len(candidate), 0), moments=(moments_of(stable), moments_of(candidate)))


def moments_of(values: Sequence[float]) -> Moments:
    return Moments(number=len(values), sum=sum(values), squares=sum(each * each for each in values))


def seen(spec: MetricSpec, *looks: Samples, now: datetime | None = NOON) -> Evidence:
    evidence = Evidence()
    for look in looks:
        evidence = observe(evidence, spec, look, now=now)
    return evidence


def judged(spec: MetricSpec, *looks: Samples, stage: Stage = Stage.CANARY, **asked: Any) -> Verdict:
    known = {"alpha": 0.01, "alpha_advance": 0.05} | asked
    return judge(spec, seen(spec, *looks), stage=stage, **known)


def _counts(pair: tuple[int, int] | None) -> Counts | None:
    return None if pair is None else Counts(total=pair[0], bad=pair[1])
