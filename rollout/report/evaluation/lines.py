"""An evaluation for people: what all forms share. The verdict first, then why, then the figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from rollout.core.evaluation import Estimate, EvalReport, Evaluation, MetricRow, Side
from rollout.core.verdict import Outcome, Verdict, worst
from rollout.report.evaluation.metrics import allowed, change_of, known, span_of, value_of
from rollout.report.evaluation.several import adapters, who

WORDS: Mapping[Outcome, str] = MappingProxyType(
    {
        Outcome.PASS: "pass",
        Outcome.INCONCLUSIVE: "inconclusive",
        Outcome.NO_DATA: "no data",
        Outcome.ERROR: "error",
        Outcome.FAIL: "FAIL",
    }
)
_COUNTED: Mapping[Outcome, str] = MappingProxyType(
    {
        Outcome.FAIL: "failed",
        Outcome.ERROR: "in error",
        Outcome.NO_DATA: "without data",
        Outcome.INCONCLUSIVE: "inconclusive",
    }
)
# What explains the others comes first.
_CAUSES = ("finite", "effect", "agreement", "slice")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One metric as text: a value a side, the change, what is allowed, and the worst verdict on it."""

    metric: str
    title: str
    values: tuple[str, ...]
    change: str
    interval: str
    allowed: str
    n: int
    verdict: Outcome | None


def headline(told: Evaluation | EvalReport) -> str:
    """One sentence: may it go on, and why not."""
    evaluation = told if isinstance(told, Evaluation) else Evaluation(reports=(told,))
    first, *others = evaluation.reports
    if len(each := adapters(evaluation)) > 1:
        return _of_adapters(each, evaluation.outcome)
    if not others:
        return f"{who(first)} {_standing(first)}"
    bad = [report.subject.suite for report in worst_suites(evaluation) if report.outcome is not Outcome.PASS]
    every = len(evaluation.reports)
    if not bad:
        return f"{who(first)} may go on: all {every} suites passed"
    return f"{who(first)} {_PHRASES[evaluation.outcome]} by {len(bad)} of {every} suites: {', '.join(bad)}"


def _of_adapters(each: Mapping[str, Evaluation], outcome: Outcome) -> str:
    bad = [name for name, found in each.items() if found.outcome is not Outcome.PASS]
    if not bad:
        return f"all {len(each)} adapters may go on"
    phrase = _PHRASES[outcome].removeprefix("is ")
    return f"{len(bad)} of {len(each)} adapters {phrase}: {', '.join(bad)}"


def worst_suites(evaluation: Evaluation) -> list[EvalReport]:
    """The reports, worst first."""
    return sorted(evaluation.reports, key=lambda report: -report.outcome.severity)


def tally(report: EvalReport) -> str:
    """How many of the required checks of one suite are open, by kind."""
    required = [each for each in report.verdicts if each.required]
    counts = [(word, sum(each.outcome is outcome for each in required)) for outcome, word in _COUNTED.items()]
    told = ", ".join(f"{count} {word}" for word, count in counts if count)
    if not required:
        return "had no check"
    return f"{told} of {len(required)} checks" if told else f"passed all {len(required)} checks"


def opponent(report: EvalReport) -> str:
    """What the candidate was compared with."""
    subject = report.subject
    base = f"base {subject.base.repo}@{subject.base.revision[:7]}"
    if subject.champion is None:
        return f"{base}, as there is no champion yet"
    return f"champion {subject.champion.version} and {base}"


def extent(report: EvalReport) -> str:
    """The suite and how much of it was asked."""
    measured, suite = report.measured, report.subject.suite
    if measured.stopped is not None:
        return f"{suite}, of which nothing was asked: {measured.stopped}"
    asked = sum(bool(case.messages) for case in measured.cases)
    if measured.is_sample:
        return f"a part of {suite}: {asked} of {measured.planned} cases"
    return f"{suite} ({len(measured.cases)} cases)"


def open_verdicts(report: EvalReport) -> list[Verdict]:
    """Every verdict that is not a pass: blocking ones first, worst first; causes and slices before the rest."""
    found = [each for each in report.verdicts if each.outcome is not Outcome.PASS]
    return sorted(found, key=lambda each: (not each.required, -each.outcome.severity, _rank(each)))


def lines(report: EvalReport) -> list[Line]:
    """The metric table: what is judged first, worst first, and what is only told last."""
    rows = [_line(report, row) for row in report.metrics]
    return sorted(rows, key=lambda row: -1 if row.verdict is None else row.verdict.severity, reverse=True)


def slice_table(report: EvalReport) -> list[list[str]]:
    """Header and rows of the slices, worst first: right answers of every side, lost and gained, p."""
    sides = report.measured.sides
    head = ["slice", "n", *sides, "lost", "gained", "p (Holm)", "valid JSON"]
    rows = [
        [
            row.slice,
            str(row.n),
            *(_percent(row.success, side) for side in sides),
            str(row.lost),
            str(row.gained),
            probability(row.p),
            _percent(row.json_compliance, Side.CANDIDATE),
        ]
        for row in report.quality.slices
    ]
    return [head, *rows] if rows else []


def failed_slices(report: EvalReport) -> set[str]:
    """Names of the slices that fail."""
    return {
        each.subject.removeprefix("slice/")
        for each in report.verdicts
        if each.subject.startswith("slice/") and each.outcome is Outcome.FAIL
    }


def probability(p: float) -> str:
    """A p-value as it is written."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


_PHRASES: Mapping[Outcome, str] = MappingProxyType(
    {
        Outcome.PASS: "may go on",
        Outcome.INCONCLUSIVE: "is not settled",
        Outcome.NO_DATA: "is blocked",
        Outcome.ERROR: "is blocked",
        Outcome.FAIL: "is blocked",
    }
)


def _standing(report: EvalReport) -> str:
    required = sum(each.required for each in report.verdicts)
    if not required:
        return "is blocked: there was no check"
    if report.outcome is Outcome.PASS:
        return f"may go on: all {required} checks passed"
    return f"{_PHRASES[report.outcome]}: {tally(report)}"


def _rank(verdict: Verdict) -> int:
    kind = verdict.subject.partition("/")[0]
    return _CAUSES.index(kind) if kind in _CAUSES else len(_CAUSES)


def _line(report: EvalReport, row: MetricRow) -> Line:
    empty = Estimate(value=None, n=0)
    about = [
        each for each in report.verdicts if each.subject.partition("/")[2] == row.metric and _judges(each)
    ]
    return Line(
        metric=row.metric,
        title=known(row.metric).title,
        values=tuple(value_of(row.sides.get(side, empty), row.metric) for side in report.measured.sides),
        change=change_of(row.effect, row.metric),
        interval=span_of(row.interval, row.metric),
        allowed=allowed(report, row.metric),
        n=row.sides.get(Side.CANDIDATE, empty).n,
        verdict=worst(each.outcome for each in about) if about else None,
    )


def _judges(verdict: Verdict) -> bool:
    return verdict.subject.partition("/")[0] in ("gate", "slices", Side.BASE, Side.CHAMPION)


def _percent(values: Mapping[Side, float], side: Side) -> str:
    return f"{100 * values[side]:.1f}%" if side in values else "–"
