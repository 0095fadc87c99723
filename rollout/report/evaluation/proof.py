"""What stands behind a verdict that is no pass: value, interval, sample, threshold and the cases that did it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rollout.core.evaluation import Case, EvalReport, Side
from rollout.core.score import shown
from rollout.core.verdict import Verdict
from rollout.report.evaluation.metrics import change_of, known, limits_of, margin_of, span_of
from rollout.report.evaluation.worst import SUCCESS, culprits

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
