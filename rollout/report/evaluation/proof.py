"""What stands behind a verdict that is no pass: value, interval, sample, threshold and the cases that did it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rollout.core.evaluation import Case, EvalReport, Side
from rollout.core.gatefile import Gate
from rollout.core.score import Unit, shown
from rollout.core.verdict import Verdict
from rollout.core.worst import SUCCESS, gains_of
from rollout.report.evaluation.metrics import change_of, known, limits_of, margin_of, span_of

_NAMED = re.compile(r"\s*\[[^\[\]]*\]\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """A verdict with what it rests on. `reason` names no cases: `cases` are all of them, worst first."""

    verdict: Verdict
    reason: str
    value: str
    interval: str
    n: int
    threshold: str
    cases: tuple[Case, ...]

    @property
    def figures(self) -> list[tuple[str, str]]:
        """Name and text of what is known, in the order in which it is read."""
        n = "" if not self.n else str(self.n)
        rows = [
            ("value", self.value),
            ("interval", self.interval),
            ("n", n),
            ("allowed", self.threshold),
        ]
        return [(name, text) for name, text in rows if text]

    def named(self, most: int) -> str:
        """The ids of the worst cases and how many more there are; empty if the verdict is not about cases."""
        more = len(self.cases) - most
        ids = ", ".join(case.id for case in self.cases[:most])
        return f"{ids} and {more} more" if more > 0 else ids


def prove(report: EvalReport, verdict: Verdict) -> Proof:
    """The verdict with its figures, in the unit of its metric."""
    kind, _, name = verdict.subject.partition("/")
    cases = tuple(culprits(report, verdict))
    is_gate = kind == "gate"
    about = SUCCESS if kind == "slice" else name
    told = kind in ("gate", "slice", "slices", Side.CHAMPION, Side.BASE)
    value = _value(verdict, about, is_gate) if told else ""
    span = span_of(verdict.interval, about, difference=not is_gate) if told else ""
    sure = "" if verdict.interval is None else f" ({verdict.interval.confidence:.0%})"
    return Proof(
        verdict=verdict,
        reason=_NAMED.sub("", verdict.reason) if cases else verdict.reason,
        value=value,
        interval=span + sure if span else "",
        n=verdict.samples[1],
        threshold=_threshold(report, kind, name),
        cases=cases,
    )


def culprits(report: EvalReport, verdict: Verdict) -> list[Case]:
    """The cases that count against the candidate in one verdict, worst first; none where it is not about cases."""
    measured = report.measured
    kind, _, name = verdict.subject.partition("/")
    if kind == "gate":
        found = [case for case in measured.cases if _breaks(case, name, report.subject.rules.gates.get(name))]
        return sorted(found, key=lambda case: known(name).sign * case.scores[Side.CANDIDATE][name])
    against = Side.BASE if kind == Side.BASE else measured.opponent
    about = SUCCESS if kind == "slice" else name
    within = [case for case in measured.cases if kind != "slice" or name in case.slices]
    fallen = [case for case in within if gains_of(case, against).get(about, 0.0) < 0]
    return sorted(fallen, key=lambda case: gains_of(case, against)[about])


def _value(verdict: Verdict, name: str, is_gate: bool) -> str:
    if verdict.effect is None:
        return ""
    return shown(verdict.effect, known(name).unit) if is_gate else change_of(verdict.effect, name)


def _threshold(report: EvalReport, kind: str, name: str) -> str:
    match kind:
        case "gate":
            return limits_of(report, name)
        case "slice":
            return "no proven loss"
        case Side.CHAMPION | Side.BASE:
            return margin_of(report, name, Side(kind))
        case _:
            return ""


def _breaks(case: Case, name: str, limits: Gate | None) -> bool:
    """Whether the case alone counts against the metric: a no among yes and no, else a value beyond the limit."""
    value = case.scores.get(Side.CANDIDATE, {}).get(name)
    if value is None or limits is None:
        return False
    if known(name).unit is Unit.SHARE:
        return value < 1 if known(name).sign > 0 else value > 0
    low = limits.min is not None and value < limits.min
    return low or (limits.max is not None and value > limits.max)
