"""What the evidence of a latency amounts to, over all of its quantiles."""

from __future__ import annotations

from math import expm1, inf, log

from rollout.core.judging.balance import Balance, design_effect
from rollout.core.judging.evidence import Evidence, Exceedance
from rollout.core.metric import MetricSpec
from rollout.core.observed import quantile_name
from rollout.core.ratebounds import rate_bounds
from rollout.core.stats import harm_log_e, mixed_log_e
from rollout.core.verdict import Interval


def weigh_latency(spec: MetricSpec, evidence: Evidence, *, confidence: float) -> Balance | None:
    """What the evidence amounts to; None where a quantile was never compared."""
    known = {each.quantile: each for each in evidence.quantiles}
    seen = [known[each] for each in spec.quantiles if each in known]
    if len(seen) < len(spec.quantiles) or not all(each.stable and each.candidate for each in seen):
        return None
    last = max(seen, key=lambda each: each.quantile)
    # Of all quantiles the largest heaps count, for their evidence is averaged.
    heaped = max(seen, key=lambda each: design_effect(spec, each.units))
    effect = design_effect(spec, heaped.units)
    ratio = _ratio(spec, last, design_effect(spec, last.units), confidence)
    # Harm is any quantile's, so that their evidence is averaged. No worse is all of theirs: the least counts.
    least = min(seen, key=lambda each: mixed_log_e(each.advance))
    return Balance(
        harm=mixed_log_e([harm_log_e(each.harm, evidence.steps) for each in seen]) / effect,
        proof=mixed_log_e(least.advance) / effect,
        units=heaped.units,
        told=", ".join(_times(each) for each in seen),
        claim=f"{quantile_name(least.quantile)} at most {spec.max_ratio:g} times stable's",
        effect=ratio[0],
        interval=ratio[1],
    )


def _times(seen: Exceedance) -> str:
    name = quantile_name(seen.quantile)
    if seen.observed is not None:
        stable, candidate = seen.observed
        return f"{name} {_milliseconds(candidate)} in the candidate, {_milliseconds(stable)} in stable"
    stable_marked, candidate_marked = seen.harm_marked
    return (
        f"beyond the common {name}: {candidate_marked:,}/{seen.candidate:,} in the candidate, "
        f"{stable_marked:,}/{seen.stable:,} in stable"
    )


def _milliseconds(value: float) -> str:
    return f"{value:,.0f} ms" if value >= 100 else f"{value:.3g} ms"


def _ratio(
    spec: MetricSpec, seen: Exceedance, effect: float, confidence: float
) -> tuple[float | None, Interval | None]:
    """How much longer the candidate takes at a quantile (0.1 is 10 % longer), and between which bounds.

    The two questions divided its times by two ratios, and each says by how much its odds of being marked still differ.
    The ratio at which they would not is found along the line through both: for people, no verdict hangs on it.
    """
    assert spec.max_ratio is not None
    steps = log(spec.max_ratio / spec.tolerated)
    at_tolerated = _log_odds_ratio(seen, seen.harm_marked)
    slope = (at_tolerated - _log_odds_ratio(seen, seen.advance_marked)) / steps
    if slope <= 0.1:
        # Buckets too coarse to tell the two ratios apart.
        return (seen.observed[1] / seen.observed[0] - 1 if seen.observed and seen.observed[0] else None), None
    bounds = _log_odds_bounds(seen, effect, 1 - confidence)
    interval = bounds and Interval(
        low=expm1(log(spec.tolerated) + bounds[0] / slope),
        high=expm1(min(log(spec.tolerated) + bounds[1] / slope, 20)),
        confidence=confidence,
    )
    return expm1(min(log(spec.tolerated) + at_tolerated / slope, 20)), interval


def _log_odds_ratio(seen: Exceedance, marked: tuple[int, int]) -> float:
    stable, candidate = marked
    return _log_odds(candidate + 0.5, seen.candidate + 1) - _log_odds(stable + 0.5, seen.stable + 1)


def _log_odds_bounds(seen: Exceedance, effect: float, alpha: float) -> tuple[float, float] | None:
    stable, candidate = seen.harm_marked
    one = rate_bounds(stable / effect, seen.stable / effect, alpha / 2)
    other = rate_bounds(candidate / effect, seen.candidate / effect, alpha / 2)
    if one[0] <= 0 or other[1] >= 1:
        return None
    low = -inf if other[0] <= 0 or one[1] >= 1 else _log_odds(other[0], 1) - _log_odds(one[1], 1)
    return low, _log_odds(other[1], 1) - _log_odds(one[0], 1)


def _log_odds(part: float, whole: float) -> float:
    return log(part / (whole - part))
