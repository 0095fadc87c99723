"""At 100 % nothing is left to compare with: absolute limits, and bounds that may be looked at all the time."""

from __future__ import annotations

from rollout.core.judging.balance import design_effect, percent, told_of_units, units_of
from rollout.core.judging.evidence import Evidence, both
from rollout.core.judging.rates import rate_of
from rollout.core.metric import Kind, MetricSpec
from rollout.core.ratebounds import rate_bounds
from rollout.core.verdict import Interval, Outcome, Verdict


def why_unlimited(spec: MetricSpec) -> str | None:
    """The sentence about a metric that has no absolute limit; None if it has one."""
    if spec.kind is Kind.SCORE:
        return "a score has no absolute limit, so it is not judged at 100 %"
    name, limit = ("max_ms", spec.max_ms) if spec.kind is Kind.LATENCY else ("max_rate", spec.max_rate)
    return f"has no `{name}`, so it cannot be judged at 100 %" if limit is None else None


def judge_alone(
    spec: MetricSpec, evidence: Evidence, *, alpha: float, alpha_advance: float, short: str | None
) -> Verdict:
    """Whether the candidate, which has requests, keeps the limit. `short` says that it has too few to pass."""
    bad, total = evidence.candidate_bad, evidence.candidate
    most, worse, limit = _limit(spec)
    effect = design_effect(spec, units_of(evidence))
    # Harm is asked of all times at 100 % together: whoever turns a release down and up again gets no second alpha.
    whole, whole_bad = both(evidence.alone, (total, bad))
    harm_low, _ = rate_bounds(whole_bad / effect, whole / effect, alpha)
    low, high = rate_bounds(bad / effect, total / effect, alpha_advance)
    told, units = rate_of(spec, bad, total), told_of_units(spec, units_of(evidence))
    if harm_low > most:
        seen = f"{rate_of(spec, whole_bad, whole)} in all times at 100 %" if whole > total else told
        outcome, reason = Outcome.FAIL, f"{seen}{worse} is above the limit of {limit}{units}"
    elif short:
        outcome, reason = Outcome.INCONCLUSIVE, short
    elif high <= most:
        outcome, reason = Outcome.PASS, f"{told}{worse}, at most {percent(high)}; the limit is {limit}{units}"
    else:
        outcome = Outcome.INCONCLUSIVE
        reason = f"not yet proven: {told}{worse}, could still be {percent(high)} (limit {limit}){units}"
    return Verdict(
        subject=spec.id,
        outcome=outcome,
        reason=reason,
        effect=bad / total,
        interval=Interval(low=low, high=high, confidence=1 - alpha_advance),
        samples=(evidence.stable, total),
        required=spec.required,
    )


def _limit(spec: MetricSpec) -> tuple[float, str, str]:
    """The largest share of bad ones, what they are, and how people call the limit."""
    if spec.kind is Kind.LATENCY:
        most = 1 - max(spec.quantiles)
        return most, f" longer than {spec.max_ms:,.0f} ms", percent(most)
    assert spec.max_rate is not None
    return spec.max_rate, "", percent(spec.max_rate)
