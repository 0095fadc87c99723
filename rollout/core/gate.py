"""gate(measured, rules) -> Analysis: may this candidate go on?

Four questions, all of which must be answered well. Was the adapter applied at all? Does it keep the absolute
limits of the gate file? Is it *shown* to be no worse than the champion by more than the margin, metric by
metric, on the same items? Did any slice get worse?

*Shown* has a price: an interval that reaches beyond the margin is `inconclusive` and blocks by default, with the
number of items that would settle it. `fail` is proven harm: a drop that chance does not explain (Holm-adjusted
over the metrics) and that reaches the margin. Slices fail on any drop that is proven (Holm over the slices).
"""

from __future__ import annotations

from rollout.core.comparison import judge_margins, named, pair, two_sided
from rollout.core.effect import judge_effect
from rollout.core.evaluation import EvalReport, Measured, MetricRow, Rules, Side, estimate
from rollout.core.score import METRICS, Unit, metric, shown
from rollout.core.slices import judge_slices, slice_rows
from rollout.core.suite import Gate
from rollout.core.verdict import Analysis, Interval, Outcome, Verdict


def gate(measured: Measured, rules: Rules) -> Analysis:
    """All verdicts, in the order of the four questions.

    The same input gives the same verdicts, whatever the order of its mappings: a stored report has sorted keys.
    """
    return Analysis(
        verdicts=(
            *judge_effect(measured),
            *(_absolute(measured, name, limits) for name, limits in sorted(rules.gates.items())),
            *judge_margins(measured, rules),
            *judge_slices(measured, rules),
            _repeats(measured),
        )
    )


def is_tampered(report: EvalReport) -> bool:
    """Whether what a report concludes is not what its own measurements and rules give."""
    measured, rules = report.measured, report.rules
    concluded = (gate(measured, rules).verdicts, metric_rows(measured, rules), slice_rows(measured, rules))
    return concluded != (report.verdicts, report.metrics, report.slices)


def metric_rows(measured: Measured, rules: Rules) -> tuple[MetricRow, ...]:
    """Every metric that was measured, in the order of the metric table, fields behind their exact match."""
    names = {name for item in measured.items for scores in item.scores.values() for name in scores}
    names |= {name for name, known in METRICS.items() if known.timed}
    fields = sorted(name for name in names if name not in METRICS)
    order = [each for name in METRICS for each in (name, *(fields if name == "exact_match" else ()))]
    return tuple(_metric_row(measured, rules, name) for name in order if name in names)


def _absolute(measured: Measured, name: str, limits: Gate) -> Verdict:
    found, of = estimate(measured, name, Side.CANDIDATE), metric(name)
    subject, samples = f"gate/{name}", (0, found.n)
    if found.n == 0:
        reason = f"{of.title} was not measured: no item of the suite applies"
        return Verdict(subject=subject, outcome=Outcome.NO_DATA, reason=reason)
    if found.value is None:
        reason = f"{of.title} is not a finite number"
        return Verdict(subject=subject, outcome=Outcome.ERROR, reason=reason, samples=samples)
    value = shown(found.value, of.unit)
    if limits.min is not None and found.value < limits.min:
        reason, outcome = (
            f"{of.title}: {value}, below the minimum of {shown(limits.min, of.unit)}",
            Outcome.FAIL,
        )
    elif limits.max is not None and found.value > limits.max:
        reason, outcome = (
            f"{of.title}: {value}, above the maximum of {shown(limits.max, of.unit)}",
            Outcome.FAIL,
        )
    else:
        reason, outcome = f"{of.title}: {value}", Outcome.PASS
    if outcome is Outcome.FAIL:
        reason += named(_culprits(measured, name))
    return Verdict(subject=subject, outcome=outcome, reason=reason, effect=found.value, samples=samples)


def _culprits(measured: Measured, name: str) -> list[str]:
    """Items whose yes-or-no answer counts against the metric."""
    if metric(name).unit is not Unit.SHARE:
        return []
    bad = 0.0 if metric(name).sign > 0 else 1.0
    return [item.id for item in measured.items if item.scores.get(Side.CANDIDATE, {}).get(name) == bad]


def _repeats(measured: Measured) -> Verdict:
    """Shown, never blocking: an engine that answers twice differently makes every paired count noisier."""
    asked = sum(repeat.asked for repeat in measured.repeats.values())
    changed = {side: repeat.changed for side, repeat in sorted(measured.repeats.items()) if repeat.changed}
    if not asked:
        outcome, reason = Outcome.NO_DATA, "nothing was asked twice"
    elif changed:
        outcome = Outcome.INCONCLUSIVE
        listed = ", ".join(
            f"{side} {number} of {measured.repeats[side].asked}" for side, number in changed.items()
        )
        reason = f"answers changed when asked again alone: {listed}"
    else:
        outcome, reason = Outcome.PASS, f"{asked} answers asked again alone were the same"
    return Verdict(subject="noise", outcome=outcome, reason=reason, required=False)


def _metric_row(measured: Measured, rules: Rules, name: str) -> MetricRow:
    of = metric(name)
    sides = {side: estimate(measured, name, side) for side in measured.sides}
    if of.timed:
        ours, theirs = sides[Side.CANDIDATE].value, sides[measured.opponent].value
        return MetricRow(
            metric=name, sides=sides, effect=None if ours is None or theirs is None else ours - theirs
        )
    pairs = pair(measured, name)
    if not pairs.gains:
        return MetricRow(metric=name, sides=sides)
    gain = pairs.interval(two_sided(rules.confidence), rules.seed)
    low, high = sorted((of.sign * gain.low, of.sign * gain.high))
    interval = Interval(low=low, high=high, confidence=gain.confidence)
    return MetricRow(metric=name, sides=sides, effect=of.sign * pairs.effect, interval=interval)
