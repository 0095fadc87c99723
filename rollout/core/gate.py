"""May this candidate go on? Concludes from what was measured, and from nothing else.

Five questions, all of which must be answered well. Was the adapter applied at all, and by an engine that computes what
it should? Does it keep the absolute limits of the gate file? Is it *shown* to be no worse than the champion by more
than the margin, metric by metric, on the same items? Did any slice get worse? Is it fast enough?

*Shown* has a price: an interval that reaches beyond the margin is `inconclusive` and blocks by default, with the
number of items that would settle it. `fail` is proven harm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import isfinite

from rollout.core.comparison import judge_margins, named, pair, two_sided
from rollout.core.effect import judge_effect
from rollout.core.estimate import (
    estimate,
    lacking,
    mean_interval,
    scores_of,
    shows,
    timed_estimate,
    timed_interval,
)
from rollout.core.evaluation import (
    Estimate,
    EvalReport,
    Measured,
    MetricRow,
    Quality,
    Rules,
    ShardTimings,
    Side,
    Speed,
    Subject,
)
from rollout.core.gatefile import Gate
from rollout.core.score import METRICS, Metric, Unit, metric, shown
from rollout.core.slices import judge_slices, slice_rows
from rollout.core.verdict import Interval, Outcome, Verdict


def conclude_quality(subject: Subject, measured: Measured) -> Quality:
    """The section of quality: rows and verdicts follow from subject and measurements alone.

    The same input gives the same bytes, whatever the order of its mappings: a stored report has sorted keys.
    """
    rules, engine = subject.rules, subject.engine
    proofs = judge_effect(measured, rules, dtype=engine.dtype, quantization=engine.quantization)
    if measured.stopped is not None:
        return Quality(
            subject=subject, measured=measured, metrics=(), slices=(), verdicts=(*proofs, _stopped(measured))
        )
    limits = [(name, gate) for name, gate in sorted(rules.gates.items()) if not metric(name).timed]
    return Quality(
        subject=subject,
        measured=measured,
        metrics=metric_rows(measured, rules),
        slices=slice_rows(measured, rules),
        verdicts=(
            *proofs,
            *_absent_champion(subject, measured),
            *_leaked(measured),
            *(judge_limits(measured, name, gate, rules) for name, gate in limits if has_limits(gate)),
            *judge_margins(measured, rules),
            *judge_slices(measured, rules),
            *_sampled(measured),
        ),
    )


def conclude_speed(rules: Rules, shards: Sequence[ShardTimings], *, was_timed: bool = True) -> Speed:
    """The section of speed. Each machine is held to the limits by itself: figures of two are never mixed."""
    if not was_timed:
        return Speed(shards=tuple(shards), metrics=(), verdicts=())
    names = [name for name, known in METRICS.items() if known.timed]
    limits = [(name, gate) for name, gate in sorted(rules.gates.items()) if metric(name).timed]
    return Speed(
        shards=tuple(shards),
        metrics=tuple(row for name in names if (row := _timed_row(shards, name)) is not None),
        verdicts=tuple(_timed(shards, name, gate, rules) for name, gate in limits),
    )


def is_tampered(report: EvalReport) -> bool:
    """Whether what a report concludes is not what its own measurements and rules give."""
    again = judged_again(report)
    return (again.quality, again.speed) != (report.quality, report.speed)


def judged_again(report: EvalReport) -> EvalReport:
    """The report with its conclusions drawn anew from its own measurements; its facts stay as they are."""
    return report.model_copy(
        update={
            "quality": conclude_quality(report.subject, report.measured),
            "speed": conclude_speed(
                report.subject.rules, report.speed.shards, was_timed=report.measured.stopped is None
            ),
        }
    )


def metric_rows(measured: Measured, rules: Rules) -> tuple[MetricRow, ...]:
    """Every metric that was measured, in the order of the metric table, families behind their head."""
    names = {name for case in measured.cases for scores in case.scores.values() for name in scores}
    fields = sorted(name for name in names if name.startswith("exact_match_"))
    others = sorted(name for name in names if name not in METRICS and name not in fields)
    order = [each for name in METRICS for each in (name, *(fields if name == "exact_match" else ()))]
    return tuple(_metric_row(measured, rules, name) for name in (*order, *others) if name in names)


def has_limits(gate: Gate) -> bool:
    """Whether a gate asks for a least or largest value."""
    return gate.min is not None or gate.max is not None


def judge_limits(measured: Measured, name: str, gate: Gate, rules: Rules) -> Verdict:
    """Whether the candidate keeps the absolute limits of one metric."""
    found, of, subject = estimate(measured, name, Side.CANDIDATE), metric(name), f"gate/{name}"
    if found.n == 0 or name in measured.missing:
        why = measured.missing.get(name, "no item of the suite applies")
        reason = f"{of.title} was not measured: {why}"
        return Verdict(subject=subject, outcome=Outcome.NO_DATA, reason=reason, required=gate.required)
    if found.value is None:
        return _not_finite(subject, of, (0, found.n), gate)
    if gone := lacking(measured, name):
        reason = f"{of.title} was not measured for {len(gone)} answers of the candidate{named(gone)}"
        return Verdict(subject=subject, outcome=Outcome.NO_DATA, reason=reason, required=gate.required)
    values = scores_of(measured, name, Side.CANDIDATE)
    interval = mean_interval(values, name, two_sided(rules.confidence), rules.seed)
    verdict = _within(subject, of, found, interval, gate, is_sample=measured.is_sample)
    culprits = named(_culprits(measured, name)) if verdict.outcome is Outcome.FAIL else ""
    return replace(verdict, reason=verdict.reason + culprits)


def _within(
    subject: str, of: Metric, found: Estimate, interval: Interval | None, gate: Gate, *, is_sample: bool
) -> Verdict:
    """Whether a value keeps its limits. The whole suite is what the limit speaks of; a part of it is a sample,
    and must be shown to keep the limit."""
    assert found.value is not None
    reason, outcome = f"{of.title}: {_measure(found, interval, of.unit)}", Outcome.PASS
    if gate.min is not None and found.value < gate.min:
        reason, outcome = f"{reason}, below the minimum of {shown(gate.min, of.unit)}", Outcome.FAIL
    elif gate.max is not None and found.value > gate.max:
        reason, outcome = f"{reason}, above the maximum of {shown(gate.max, of.unit)}", Outcome.FAIL
    elif is_sample and not shows(interval, gate.min, gate.max):
        reason, outcome = f"{reason}: a part of the suite that does not show the limit", Outcome.INCONCLUSIVE
    return Verdict(
        subject=subject,
        outcome=outcome,
        reason=reason,
        effect=found.value,
        interval=interval,
        samples=(0, found.n),
        required=gate.required,
    )


def _measure(found: Estimate, interval: Interval | None, unit: Unit) -> str:
    assert found.value is not None
    if interval is None:
        return f"{shown(found.value, unit)} of {found.n}"
    low, high = (shown(end, unit) for end in (interval.low, interval.high))
    return f"{shown(found.value, unit)} of {found.n} ({interval.confidence:.0%} interval {low} to {high})"


def _not_finite(subject: str, of: Metric, samples: tuple[int, int], gate: Gate) -> Verdict:
    reason = f"{of.title} is not a finite number"
    return Verdict(
        subject=subject, outcome=Outcome.ERROR, reason=reason, samples=samples, required=gate.required
    )


def _culprits(measured: Measured, name: str) -> list[str]:
    """The items that count most against the metric: wrong ones for yes and no, else the worst."""
    sign = metric(name).sign
    scored = [
        (sign * scores[name], case.id)
        for case in measured.cases
        if name in (scores := case.scores.get(Side.CANDIDATE, {})) and isfinite(scores[name])
    ]
    if metric(name).unit is Unit.SHARE:
        return [id_ for score, id_ in scored if score == (0.0 if sign > 0 else -1.0)]
    return [id_ for _, id_ in sorted(scored)[:5]]


def _timed(shards: Sequence[ShardTimings], name: str, gate: Gate, rules: Rules) -> Verdict:
    """The verdict of the worst machine."""
    # A shard without a question of its own has timed nothing, and lacks nothing.
    found = [_timed_on(shard, name, gate, rules) for shard in shards if any(shard.timings.values())]
    if not found:
        reason = f"{metric(name).title} was not measured: nothing was timed"
        return Verdict(subject=f"gate/{name}", outcome=Outcome.NO_DATA, reason=reason, required=gate.required)
    return max(found, key=lambda verdict: verdict.outcome.severity)


def _timed_on(shard: ShardTimings, name: str, gate: Gate, rules: Rules) -> Verdict:
    subject, of = f"gate/{name}", metric(name)
    found = timed_estimate([shard], name, Side.CANDIDATE)
    if found.n == 0:
        reason = f"{of.title} was not measured in shard {shard.shard}"
        return Verdict(subject=subject, outcome=Outcome.NO_DATA, reason=reason, required=gate.required)
    if found.value is None:
        return _not_finite(subject, of, (0, found.n), gate)
    interval = timed_interval([shard], name, Side.CANDIDATE, two_sided(rules.confidence))
    verdict = _within(subject, of, found, interval, gate, is_sample=False)
    where = f" (shard {shard.shard}, {shard.hardware})" if shard.shard != "1/1" else ""
    return replace(verdict, reason=verdict.reason + where)


def _absent_champion(subject: Subject, measured: Measured) -> list[Verdict]:
    """Without its answers everything would be compared with the base, which is easily beaten."""
    if subject.champion is None or Side.CHAMPION in measured.sides:
        return []
    reason = f"no answer of {subject.champion.served_name} is there to compare with"
    return [Verdict(subject="champion", outcome=Outcome.NO_DATA, reason=reason)]


def _leaked(measured: Measured) -> list[Verdict]:
    """A suite that the adapter was trained on proves nothing. That the data is not at hand is shown only."""
    leak = measured.leak
    if leak is None:
        return []
    return [replace(leak, required=leak.outcome is not Outcome.NO_DATA)]


def _stopped(measured: Measured) -> Verdict:
    return Verdict(
        subject="cases",
        outcome=Outcome.NO_DATA,
        reason=f"none of {measured.planned} items was asked: {measured.stopped}",
    )


def _sampled(measured: Measured) -> list[Verdict]:
    """A part of the suite can prove harm, and never that there is none: what was left out may hold it."""
    asked = len([case for case in measured.cases if case.messages])
    if asked == measured.planned:
        return []
    reason = f"{asked} of {measured.planned} items were asked: a part of the suite can fail an adapter, not pass it"
    if measured.unasked:
        reason += f"; nothing was asked of {', '.join(measured.unasked)}"
        return [Verdict(subject="cases", outcome=Outcome.NO_DATA, reason=reason)]
    return [Verdict(subject="cases", outcome=Outcome.INCONCLUSIVE, reason=reason)]


def _metric_row(measured: Measured, rules: Rules, name: str) -> MetricRow:
    of = metric(name)
    sides = {side: estimate(measured, name, side) for side in measured.sides}
    pairs = pair(measured, name)
    if not pairs.gains or not pairs.is_finite:
        return MetricRow(metric=name, sides=sides)
    gain = pairs.interval(two_sided(rules.confidence), rules.seed)
    low, high = sorted((of.sign * gain.low, of.sign * gain.high))
    interval = Interval(low=low, high=high, confidence=gain.confidence)
    return MetricRow(metric=name, sides=sides, effect=of.sign * pairs.effect, interval=interval)


def _timed_row(shards: Sequence[ShardTimings], name: str) -> MetricRow | None:
    timed = {side for shard in shards for side in shard.timings}
    sides = {side: timed_estimate(shards, name, side) for side in Side if side in timed}
    if not any(found.n for found in sides.values()):
        return None
    opponent = Side.CHAMPION if Side.CHAMPION in timed else Side.BASE
    empty = Estimate(value=None, n=0)
    ours, theirs = (sides.get(side, empty).value for side in (Side.CANDIDATE, opponent))
    change = None if ours is None or theirs is None else ours - theirs
    return MetricRow(metric=name, sides=sides, effect=change)
