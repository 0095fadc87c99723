"""What the evidence of a rate amounts to: odds by conditioning on each look, differences by bounds of both arms."""

from __future__ import annotations

from rollout.core.judging.balance import Balance, design_effect, percent
from rollout.core.judging.evidence import Evidence
from rollout.core.metric import Direction, MetricSpec
from rollout.core.ratebounds import difference_bounds, margin_log_e
from rollout.core.stats import harm_log_e, mixed_log_e
from rollout.core.verdict import Interval


def rate_of(spec: MetricSpec, bad: int, total: int) -> str:
    """Bad ones (or good ones, of what is better when it is higher) of all: `41/500 (8.2%)`."""
    shown = total - bad if spec.direction is Direction.HIGHER else bad
    return f"{shown:,}/{total:,} ({percent(shown / total)})"


def weigh_rate(spec: MetricSpec, evidence: Evidence, *, confidence: float) -> Balance | None:
    """What the evidence amounts to; None where an arm has no requests."""
    effect = design_effect(spec, evidence.units)
    stable, candidate = evidence.stable, evidence.candidate
    if not stable or not candidate:
        return None
    worth = {
        "candidate": candidate / effect,
        "candidate_bad": evidence.candidate_bad / effect,
        "stable": stable / effect,
        "stable_bad": evidence.stable_bad / effect,
    }
    sign = -1 if spec.direction is Direction.HIGHER else 1
    bounds = sorted(sign * each for each in difference_bounds(**worth, alpha=1 - confidence))
    difference = evidence.candidate_bad / candidate - evidence.stable_bad / stable
    proofs, claims = [], []
    if spec.max_abs is not None:
        proofs.append(margin_log_e(**worth, margin=spec.max_abs))
        claims.append(f"no worse by more than {percent(spec.max_abs)}")
    if spec.max_odds is not None:
        proofs.append(mixed_log_e(evidence.advance or (0.0,)) / effect)
        claims.append(f"at odds of at most {spec.max_odds:g} times stable's")
    return Balance(
        harm=harm_log_e(evidence.log_e, evidence.steps) / effect,
        proof=mixed_log_e(proofs),
        units=evidence.units,
        told=f"{rate_of(spec, evidence.candidate_bad, candidate)} in the candidate, "
        f"{rate_of(spec, evidence.stable_bad, stable)} in stable{_hint(spec, evidence)}",
        claim=" or ".join(claims),
        effect=sign * difference,
        interval=Interval(low=bounds[0], high=bounds[1], confidence=confidence),
    )


def _hint(spec: MetricSpec, evidence: Evidence) -> str:
    """What to do about a proof that may never come."""
    if spec.max_abs is not None or evidence.candidate_bad or evidence.stable_bad:
        return ""
    return " (odds say nothing where nothing is bad: `max_abs` would)"
