"""observe(evidence, spec, samples) -> Evidence: what one look adds, by the kind of the metric."""

from __future__ import annotations

from datetime import datetime

from rollout.core.judging.evidence import Evidence, Exceedance, harm_grown, proof_grown, with_heaps
from rollout.core.judging.scored import Paired, Unpaired, with_likeness
from rollout.core.metric import Counts, Direction, Kind, MetricSpec, Samples
from rollout.core.observed import quantile_name


def observe(
    evidence: Evidence, spec: MetricSpec, samples: Samples, *, now: datetime | None = None
) -> Evidence:
    """Add one look, taken `now`. A missing arm adds nothing but is remembered."""
    stable, candidate = _as_bad(spec, samples.stable), _as_bad(spec, samples.candidate)
    heard = _heard(evidence, spec, samples, now)
    if stable is None or candidate is None:
        return evidence.model_copy(update=heard)
    counted = {
        "stable": evidence.stable + stable.total,
        "stable_bad": evidence.stable_bad + stable.bad,
        "candidate": evidence.candidate + candidate.total,
        "candidate_bad": evidence.candidate_bad + candidate.bad,
        "units": with_heaps(evidence.units, samples.clusters),
    }
    return evidence.model_copy(update=heard | counted | _added(evidence, spec, samples, stable, candidate))


def _heard(evidence: Evidence, spec: MetricSpec, samples: Samples, now: datetime | None) -> dict[str, object]:
    """When each arm spoke last, and when there was something of both to compare."""
    stable, candidate = samples.stable, samples.candidate
    spoke = stable is not None and stable.total > 0, candidate is not None and candidate.total > 0
    compared = {
        Kind.RATE: True,
        Kind.LATENCY: bool(samples.marks),
        Kind.SCORE: bool(samples.differences) or _has_moments(samples),
    }[spec.kind]
    return {
        "missing": 0 if stable is not None and spoke[1] else evidence.missing + 1,
        "heard_at": now if all(spoke) and compared else evidence.heard_at,
        "stable_heard_at": now if spoke[0] else evidence.stable_heard_at,
        "candidate_heard_at": now if spoke[1] else evidence.candidate_heard_at,
    }


def _has_moments(samples: Samples) -> bool:
    return samples.moments is not None and all(arm.number > 0 for arm in samples.moments)


def _as_bad(spec: MetricSpec, counts: Counts | None) -> Counts | None:
    """Of what is better when there is more of it, the others are judged."""
    if counts is None or spec.kind is not Kind.RATE or spec.direction is Direction.LOWER:
        return counts
    return Counts(total=counts.total, bad=counts.total - counts.bad)


def _added(
    evidence: Evidence, spec: MetricSpec, samples: Samples, stable: Counts, candidate: Counts
) -> dict[str, object]:
    if spec.kind is Kind.LATENCY:
        return {"quantiles": _with_marks(evidence, spec, samples, candidate.total)}
    if spec.kind is Kind.SCORE:
        return _with_scores(evidence, spec, samples)
    harm = harm_grown(evidence.log_e, stable, candidate, tolerance=spec.tolerated)
    if spec.max_odds is None:
        return {"log_e": harm}
    proof = proof_grown(evidence.advance, stable, candidate, accepted=spec.max_odds)
    return {"log_e": harm, "advance": proof}


def _with_marks(
    evidence: Evidence, spec: MetricSpec, samples: Samples, weight: int
) -> tuple[Exceedance, ...]:
    known = {each.quantile: each for each in evidence.quantiles}
    for marks in samples.marks:
        if marks.quantile in spec.quantiles and marks.stable.total and marks.candidate.total:
            before = known.get(marks.quantile, Exceedance(quantile=marks.quantile))
            known[marks.quantile] = before.with_marks(marks)
    for quantile, before in known.items():
        name = quantile_name(quantile)
        read = before.with_observed(*samples.observed.get(name, (None, None)), weight)
        known[quantile] = read.with_units(samples.slow.get(name))
    return tuple(known[quantile] for quantile in sorted(known))


def _with_scores(evidence: Evidence, spec: MetricSpec, samples: Samples) -> dict[str, object]:
    assert spec.max_abs is not None, "a score says which loss it accepts"
    added: dict[str, object] = {}
    if samples.differences:
        paired = (evidence.paired or Paired()).with_pairs(
            samples.differences, tolerated=spec.tolerated, accepted=spec.max_abs
        )
        added["paired"] = paired.model_copy(update={"alike": with_likeness(paired.alike, samples.alike)})
    if samples.moments is not None:
        means = (evidence.unpaired or Unpaired()).with_look(*samples.moments)
        added["unpaired"] = means.model_copy(update={"alike": with_likeness(means.alike, samples.alike)})
    return added
