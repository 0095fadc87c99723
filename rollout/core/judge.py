"""judge(spec, evidence) -> Verdict: is the candidate worse than the stable adapter, or proven not to be?

Harm is shown by an e-process that is carried over all looks of a stage; *no worse* is its own proof, an
anytime-valid interval of the difference of rates that must lie below the metric's margin. "Not bad yet" is
neither: it is inconclusive. At 100 % no control is left, and only the absolute limit is judged.
"""

from __future__ import annotations

from datetime import datetime
from math import exp, log
from typing import Annotated

from pydantic import AwareDatetime, Field

from rollout.core.manifest import Document
from rollout.core.metric import Counts, MetricSpec, OnMissing, Requirement, Samples, Stage
from rollout.core.ratebounds import difference_bounds, rate_bounds
from rollout.core.stats import (
    HARM_ODDS,
    as_odds,
    harm_increments,
    mixed_log_e,
)
from rollout.core.verdict import Interval, Outcome, Verdict

Count = Annotated[int, Field(ge=0)]


class Evidence(Document):
    """The sums of one metric: all that the judge remembers.

    `log_e` runs over the whole stage; the counts are those of the current state (shadow, or one step), because
    rates must not be pooled over steps whose shares differ.
    """

    log_e: tuple[float, ...] = Field(
        default=(0.0,) * len(HARM_ODDS), min_length=len(HARM_ODDS), max_length=len(HARM_ODDS)
    )
    stable: Count = 0
    stable_bad: Count = 0
    candidate: Count = 0
    candidate_bad: Count = 0
    missing: Count = Field(default=0, description="Looks in a row in which an arm had no data.")
    heard_at: AwareDatetime | None = Field(
        default=None, description="The last look in which both arms had data."
    )

    def carried_into_next_step(self) -> Evidence:
        """The same evidence of harm, with the counts begun anew."""
        return Evidence(log_e=self.log_e)


def observe(
    evidence: Evidence, spec: MetricSpec, samples: Samples, *, now: datetime | None = None
) -> Evidence:
    """Add one look. A missing arm adds nothing but is remembered."""
    stable, candidate = samples.stable, samples.candidate
    if stable is None or candidate is None:
        return evidence.model_copy(update={"missing": evidence.missing + 1})
    return Evidence(
        log_e=_grown(evidence.log_e, spec, stable, candidate),
        stable=evidence.stable + stable.total,
        stable_bad=evidence.stable_bad + stable.bad,
        candidate=evidence.candidate + candidate.total,
        candidate_bad=evidence.candidate_bad + candidate.bad,
        missing=0 if candidate.total else evidence.missing + 1,
        heard_at=now if stable.total and candidate.total else evidence.heard_at,
    )


def _grown(
    log_e: tuple[float, ...], spec: MetricSpec, stable: Counts, candidate: Counts
) -> tuple[float, ...]:
    increments = harm_increments(
        candidate=candidate.total,
        candidate_bad=candidate.bad,
        stable=stable.total,
        stable_bad=stable.bad,
        tolerance=spec.tolerated,
    )
    return tuple(before + more for before, more in zip(log_e, increments, strict=True))


def judge(
    spec: MetricSpec,
    evidence: Evidence,
    *,
    stage: Stage,
    alpha: float,
    alpha_advance: float,
    requires: Requirement = Requirement.NON_INFERIOR,
    now: datetime | None = None,
) -> Verdict:
    """What the evidence says about one metric. `alpha` is this metric's part of the release's budget.

    A pass is what the state of the plan `requires`; at 100 % that is the absolute limit.
    """
    if stage is Stage.BAKE:
        return _judge_alone(spec, evidence, alpha=alpha, alpha_advance=alpha_advance)
    if not evidence.candidate or not evidence.stable:
        return _no_data(spec, evidence, needs_stable=True)
    log_e = mixed_log_e(evidence.log_e)
    low, high = difference_bounds(
        candidate=evidence.candidate,
        candidate_bad=evidence.candidate_bad,
        stable=evidence.stable,
        stable_bad=evidence.stable_bad,
        alpha=alpha_advance,
    )
    effect = evidence.candidate_bad / evidence.candidate - evidence.stable_bad / evidence.stable
    rates = (
        f"{_rate(evidence.candidate_bad, evidence.candidate)} in the candidate, "
        f"{_rate(evidence.stable_bad, evidence.stable)} in stable"
    )
    if log_e >= log(1 / alpha):
        outcome = Outcome.FAIL
        reason = f"worse: {rates}; evidence {as_odds(log_e)} against no worse (limit {1 / alpha:.0f} : 1)"
    elif short := _short(spec, evidence):
        outcome, reason = Outcome.INCONCLUSIVE, short
    elif spec.max_abs is not None and high <= spec.max_abs:
        outcome = Outcome.PASS
        reason = f"no worse by more than {spec.max_abs:.1%}: {rates}; at most {high:+.1%}"
    else:
        outcome = Outcome.INCONCLUSIVE
        reason = f"not yet proven: {rates}; could still be {high:+.1%} (accepted {spec.max_abs or 0:.1%})"
    return Verdict(
        subject=spec.id,
        outcome=outcome,
        reason=reason,
        effect=effect,
        interval=Interval(low=low, high=high, confidence=1 - alpha_advance),
        e_value=exp(min(log_e, 700.0)),
        samples=(evidence.stable, evidence.candidate),
        required=spec.required,
    )


def _judge_alone(spec: MetricSpec, evidence: Evidence, *, alpha: float, alpha_advance: float) -> Verdict:
    """At 100 %: the absolute limit, since nothing is left to compare with."""
    if spec.max_rate is None:
        return Verdict(
            subject=spec.id,
            outcome=Outcome.INCONCLUSIVE,
            reason="has no `max_rate`, so it cannot be judged at 100 %",
            required=False,
        )
    if not evidence.candidate:
        return _no_data(spec, evidence, needs_stable=False)
    harm_low, _ = rate_bounds(evidence.candidate_bad, evidence.candidate, alpha)
    low, high = rate_bounds(evidence.candidate_bad, evidence.candidate, alpha_advance)
    rate = _rate(evidence.candidate_bad, evidence.candidate)
    if harm_low > spec.max_rate:
        outcome, reason = Outcome.FAIL, f"{rate} is above the limit of {spec.max_rate:.1%}"
    elif short := _short(spec, evidence, alone=True):
        outcome, reason = Outcome.INCONCLUSIVE, short
    elif high <= spec.max_rate:
        outcome, reason = Outcome.PASS, f"{rate}, at most {high:.1%}; the limit is {spec.max_rate:.1%}"
    else:
        outcome = Outcome.INCONCLUSIVE
        reason = f"not yet proven: {rate}, could still be {high:.1%} (limit {spec.max_rate:.1%})"
    return Verdict(
        subject=spec.id,
        outcome=outcome,
        reason=reason,
        effect=evidence.candidate_bad / evidence.candidate,
        interval=Interval(low=low, high=high, confidence=1 - alpha_advance),
        samples=(evidence.stable, evidence.candidate),
        required=spec.required,
    )


def _no_data(spec: MetricSpec, evidence: Evidence, *, needs_stable: bool) -> Verdict:
    silent = "the candidate" if not evidence.candidate else "stable"
    if needs_stable and not evidence.candidate and not evidence.stable:
        silent = "either arm"
    failed = spec.on_missing is OnMissing.FAIL
    return Verdict(
        subject=spec.id,
        outcome=Outcome.FAIL if failed else Outcome.NO_DATA,
        reason=f"no requests of {silent} yet" + (", and the metric must have data" if failed else ""),
        samples=(evidence.stable, evidence.candidate),
        required=spec.required,
    )


def _short(spec: MetricSpec, evidence: Evidence, *, alone: bool = False) -> str | None:
    """The sentence about too few samples, or None if there are enough."""
    have = evidence.candidate if alone else min(evidence.stable, evidence.candidate)
    if have >= spec.min_samples:
        return None
    return f"{have} of {spec.min_samples} samples so far"


def _rate(bad: int, total: int) -> str:
    return f"{bad}/{total} ({bad / total:.1%})"
