"""judge(spec, evidence) -> Verdict: is the candidate worse than the stable adapter, or proven not to be?

Harm is shown by an e-process that is carried over all looks of a release's steps; *no worse* is its own proof, gathered
in each step, that must be found at the margin which the metric accepts. "Not bad yet" is neither: it is inconclusive.
Missing data are never a pass. At 100 % no control is left, and only the absolute limit is judged.

Both are e-values: whatever the number of looks, one that exceeds 1 / alpha is found by chance with probability alpha at
most. Sources: Ramdas, Grünwald, Vovk and Shafer, "Game-theoretic statistics and safe anytime-valid inference", 2023, and
those at each process.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from math import log

from rollout.core.judging.alone import judge_alone, why_unlimited
from rollout.core.judging.balance import Balance, as_e_value, projected, told_of_units
from rollout.core.judging.evidence import Evidence
from rollout.core.judging.latency import weigh_latency
from rollout.core.judging.observing import observe
from rollout.core.judging.rates import weigh_rate
from rollout.core.judging.scores import weigh_score
from rollout.core.judging.silence import must_have_data, silence, too_few, unheard
from rollout.core.metric import Kind, MetricSpec, Requirement, Stage
from rollout.core.stats import HARM_ODDS, as_odds
from rollout.core.verdict import Outcome, Verdict

__all__ = ["Evidence", "judge", "observe"]

_WEIGH = {Kind.RATE: weigh_rate, Kind.LATENCY: weigh_latency, Kind.SCORE: weigh_score}


def judge(
    spec: MetricSpec,
    evidence: Evidence,
    *,
    stage: Stage,
    alpha: float,
    alpha_advance: float,
    requires: Requirement = Requirement.NON_INFERIOR,
    now: datetime | None = None,
    since: datetime | None = None,
) -> Verdict:
    """What the evidence says about one metric. `alpha` is this metric's part of the release's budget.

    A pass is what the state of the plan `requires`; at 100 % that is the absolute limit. With `now`, evidence that an arm
    has added nothing to for `spec.max_silence` is no data, whatever it says; harm that was shown stays harm. What must
    have data, and has none yet, fails only when as much time has passed `since` the state was entered.
    """
    judged = _judge(
        spec, evidence, stage=stage, alpha=alpha, alpha_advance=alpha_advance, requires=requires, now=now
    )
    if judged.outcome is Outcome.NO_DATA and must_have_data(spec, since, now):
        return replace(judged, outcome=Outcome.FAIL, reason=f"{judged.reason}, and the metric must have data")
    return judged


def _judge(
    spec: MetricSpec,
    evidence: Evidence,
    *,
    stage: Stage,
    alpha: float,
    alpha_advance: float,
    requires: Requirement,
    now: datetime | None,
) -> Verdict:
    if stage is Stage.BAKE:
        return _at_the_whole(spec, evidence, alpha, alpha_advance, now)
    found = _WEIGH[spec.kind](spec, evidence, confidence=1 - alpha_advance)
    if found is None:
        return _no_data(spec, evidence, unheard(spec, evidence))
    outcome, reason = _conclude(spec, evidence, found, alpha, alpha_advance, requires, now)
    verdict = Verdict(
        subject=spec.id,
        outcome=outcome,
        reason=reason,
        effect=found.effect,
        interval=found.interval,
        e_value=as_e_value(found.harm),
        proof=as_e_value(found.proof),
        samples=(evidence.stable, evidence.candidate),
        required=spec.required,
    )
    if outcome is not Outcome.INCONCLUSIVE:
        return verdict
    total = _projected(spec, evidence, found, log(1 / alpha), log(1 / alpha_advance), requires)
    return replace(verdict, projected=total)


def _conclude(
    spec: MetricSpec,
    evidence: Evidence,
    found: Balance,
    alpha: float,
    alpha_advance: float,
    requires: Requirement,
    now: datetime | None,
) -> tuple[Outcome, str]:
    against = f"evidence {as_odds(found.harm)} against no worse"
    units = told_of_units(spec, found.units)
    if found.harm >= log(1 / alpha):
        return Outcome.FAIL, f"worse: {found.told}; {against} (limit {_to_one(alpha)}){units}"
    if silent := silence(spec, evidence, now):
        return Outcome.NO_DATA, silent
    if short := too_few(spec, evidence.stable, evidence.candidate):
        return Outcome.INCONCLUSIVE, short
    if requires is Requirement.NO_HARM:
        return Outcome.PASS, f"no harm shown: {found.told}; {against} (limit {_to_one(alpha)}){units}"
    proof, asked = f"evidence {as_odds(found.proof)} for it", f"({_to_one(alpha_advance)} is enough)"
    if found.proof >= log(1 / alpha_advance):
        return Outcome.PASS, f"{found.claim}: {found.told}; {proof} {asked}{units}"
    return (
        Outcome.INCONCLUSIVE,
        f"not yet proven to be {found.claim}: {found.told}; {proof} {asked}{units}",
    )


def _to_one(alpha: float) -> str:
    return f"{1 / alpha:,.0f} : 1"


def _at_the_whole(
    spec: MetricSpec, evidence: Evidence, alpha: float, alpha_advance: float, now: datetime | None
) -> Verdict:
    if why := why_unlimited(spec):
        return Verdict(subject=spec.id, outcome=Outcome.INCONCLUSIVE, reason=why, required=False)
    if not evidence.candidate:
        return _no_data(spec, evidence, "no requests of the candidate yet")
    short = too_few(spec, evidence.candidate)
    judged = judge_alone(spec, evidence, alpha=alpha, alpha_advance=alpha_advance, short=short)
    silent = silence(spec, evidence, now, alone=True)
    if silent and judged.outcome is not Outcome.FAIL:
        return replace(judged, outcome=Outcome.NO_DATA, reason=silent)
    return judged


def _no_data(spec: MetricSpec, evidence: Evidence, why: str) -> Verdict:
    return Verdict(
        subject=spec.id,
        outcome=Outcome.NO_DATA,
        reason=why,
        samples=(evidence.stable, evidence.candidate),
        required=spec.required,
    )


def _projected(
    spec: MetricSpec,
    evidence: Evidence,
    found: Balance,
    harm: float,
    proof: float,
    requires: Requirement,
) -> int | None:
    """Requests of the candidate in this step until it is decided, as it looks; at least one more, and the fewest."""
    own = evidence.candidate
    least = max(spec.min_samples, own + 1)
    if requires is Requirement.NO_HARM:
        return least
    to_prove = projected(found.proof, needed=proof, seen=own, alternatives=HARM_ODDS)
    to_harm = projected(found.harm, needed=harm, seen=own + evidence.earlier, alternatives=(1,))
    totals = [each for each in (to_prove, to_harm and to_harm - evidence.earlier) if each is not None]
    return max(least, min(totals)) if totals else None
