"""Metrics as they are written: titles, values, changes, and what is allowed."""

from __future__ import annotations

from rollout.core.comparison import comparisons
from rollout.core.evaluation import Estimate, EvalReport, Side
from rollout.core.metric import Direction
from rollout.core.score import Metric, Unit, metric, shown, signed, signed_number
from rollout.core.verdict import Interval


def known(name: str) -> Metric:
    """The metric of this name; one that this version does not know is a score of which more is better."""
    try:
        return metric(name)
    except KeyError:
        return Metric(id=name, title=name, unit=Unit.SCORE, direction=Direction.HIGHER)


def value_of(estimate: Estimate, name: str) -> str:
    """The value with its unit; a dash where nothing was measured."""
    if estimate.n == 0:
        return "–"
    return "not finite" if estimate.value is None else shown(estimate.value, known(name).unit)


def change_of(effect: float | None, name: str) -> str:
    """A difference with its sign and unit; empty if there is none."""
    return "" if effect is None else signed(effect, known(name).unit)


def span_of(interval: Interval | None, name: str, *, difference: bool = True) -> str:
    """Both ends of an interval; empty if there is none."""
    if interval is None:
        return ""
    unit = known(name).unit
    if difference:
        return f"{signed_number(interval.low, unit)} to {signed_number(interval.high, unit)}"
    return f"{shown(interval.low, unit)} to {shown(interval.high, unit)}"


def limits_of(report: EvalReport, name: str) -> str:
    """The absolute limits of a metric; empty if it has none."""
    unit, gate = known(name).unit, report.subject.rules.gates.get(name)
    if gate is None:
        return ""
    told = [] if gate.min is None else [f"≥ {shown(gate.min, unit)}"]
    told += [] if gate.max is None else [f"≤ {shown(gate.max, unit)}"]
    return ", ".join(told)


def margin_of(report: EvalReport, name: str, against: Side) -> str:
    """The largest loss that is accepted against a side; empty if no margin is set."""
    margin = loss_of(report, name, against)
    word = "loss" if known(name).sign > 0 else "rise"
    return "" if margin is None else f"{word} < {shown(margin, known(name).unit, difference=True)}"


def loss_of(report: EvalReport, name: str, against: Side) -> float | None:
    """The same as a number, in the metric's own unit."""
    asked = comparisons(report.subject.rules, report.measured.opponent)
    return next(
        (each.margin.max_loss for each in asked if (each.metric, each.against) == (name, against)), None
    )


def allowed(report: EvalReport, name: str) -> str:
    """Everything that the gate file asks of a metric, on one line."""
    opponent = report.measured.opponent
    base = margin_of(report, name, Side.BASE) if opponent is not Side.BASE else ""
    told = [limits_of(report, name), margin_of(report, name, opponent), f"{base} (base)" if base else ""]
    return ", ".join(each for each in told if each)


def claim(name: str, value: float) -> str:
    """What the trainer says of a metric."""
    try:
        return shown(value, metric(name).unit)
    except KeyError:
        return f"{value:g}"
