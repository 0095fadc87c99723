"""What the evidence of a score amounts to: of pairs where there are any, else of means."""

from __future__ import annotations

from rollout.core.betting import FEWEST, mean_half_width, mean_log_e, variance_of
from rollout.core.judging.balance import Balance, design_effect
from rollout.core.judging.evidence import Evidence
from rollout.core.judging.scored import Paired, Strata, Unpaired
from rollout.core.metric import MetricSpec
from rollout.core.stats import harm_log_e, mixed_log_e
from rollout.core.verdict import Interval


def weigh_score(spec: MetricSpec, evidence: Evidence, *, confidence: float) -> Balance | None:
    """What the evidence amounts to; None where nothing of both arms was compared."""
    assert spec.max_abs is not None
    claim = f"no worse by more than {spec.max_abs:.3g}"
    if evidence.paired is not None and evidence.paired.pairs:
        return _of_pairs(spec, evidence.paired, evidence.steps, claim, confidence)
    means = evidence.unpaired
    if means is None or not means.step.weight:
        return None
    effect = design_effect(spec, means.alike)
    harm, proof = (
        _mean_evidence(means, strata, distance)
        for strata, distance in (
            (means.whole, -means.whole.sum / means.whole.weight - spec.tolerated),
            (means.step, means.step.sum / means.step.weight + spec.max_abs),
        )
    )
    difference = means.step.sum / means.step.weight
    half = mean_half_width(_variance(means, means.step) * effect, means.step.weight / effect, 1 - confidence)
    return Balance(
        harm=harm / effect,
        proof=proof / effect,
        units=means.alike,
        told=_difference(difference, f"on average of {evidence.candidate:,} against {evidence.stable:,}"),
        claim=claim,
        effect=difference,
        interval=_clipped(difference, half, confidence),
    )


def _of_pairs(spec: MetricSpec, paired: Paired, steps: int, claim: str, confidence: float) -> Balance:
    effect = design_effect(spec, paired.alike)
    mean = paired.sum / paired.pairs
    # As if one pair more had differed each way: pairs that are all equal are not certain.
    variance = ((paired.squares + 2) / (paired.pairs + 2) - mean * mean) / paired.pairs * effect
    half = mean_half_width(max(variance, 1e-12), paired.pairs / effect, 1 - confidence)
    return Balance(
        harm=harm_log_e(paired.harm, steps) / effect,
        proof=mixed_log_e(paired.advance) / effect,
        units=paired.alike,
        told=_difference(mean, f"over {paired.pairs:,} pairs"),
        claim=claim,
        effect=mean,
        interval=_clipped(mean, half, confidence),
    )


def _mean_evidence(means: Unpaired, strata: Strata, distance: float) -> float:
    """None at all before an arm has values enough for a mean to be nearly normal."""
    if min(means.stable.number, means.candidate.number) < FEWEST:
        return 0.0
    return mean_log_e(distance, _variance(means, strata), strata.weight)


def _variance(means: Unpaired, strata: Strata) -> float:
    own, theirs = (
        variance_of(each.number, each.sum, each.squares) for each in (means.candidate, means.stable)
    )
    return (own * strata.candidate + theirs * strata.stable) / strata.weight**2


def _difference(value: float, over: str) -> str:
    if abs(value) < 0.0005:
        return f"as high as stable's, {over}"
    return f"{abs(value):.3f} {'lower' if value < 0 else 'higher'} than stable's, {over}"


def _clipped(middle: float, half: float, confidence: float) -> Interval:
    return Interval(low=max(middle - half, -1.0), high=min(middle + half, 1.0), confidence=confidence)
