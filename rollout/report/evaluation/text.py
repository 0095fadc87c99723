"""An evaluation for the terminal: the verdict first, then why, then the figures."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from types import MappingProxyType

import click

from rollout.core.evaluation import Case, EvalReport, Evaluation, Side
from rollout.core.verdict import Outcome, Verdict
from rollout.core.worst import Change, change, worst_first
from rollout.report.evaluation.facts import Fact, facts
from rollout.report.evaluation.lines import (
    WORDS,
    extent,
    failed_slices,
    headline,
    lines,
    open_verdicts,
    opponent,
    slice_table,
    tally,
    worst_suites,
)
from rollout.report.evaluation.plain import plain
from rollout.report.evaluation.proof import prove
from rollout.report.evaluation.several import told_apart

EXAMPLES = 3
_CASES = 5
_WIDTH = 100
COLOURS: Mapping[Outcome, str] = MappingProxyType(
    {
        Outcome.PASS: "green",
        Outcome.INCONCLUSIVE: "yellow",
        Outcome.NO_DATA: "yellow",
        Outcome.ERROR: "red",
        Outcome.FAIL: "red",
    }
)
_BECAME: Mapping[Change, str] = MappingProxyType(
    {
        Change.LOST: "fell",
        Change.WRONG: "still wrong",
        Change.CHANGED: "right in other words",
        Change.GAINED: "rose",
        Change.SAME: "the same",
    }
)


def to_text(evaluation: Evaluation) -> str:
    """The evaluation as text with colours; `click.echo` takes them away where there is no terminal."""
    evaluation = told_apart(evaluation)
    word = click.style(WORDS[evaluation.outcome].upper(), fg=COLOURS[evaluation.outcome], bold=True)
    head = f"{word}  {click.style(plain(headline(evaluation), 400), bold=True)}"
    reports = worst_suites(evaluation)
    if len(reports) == 1:
        return f"{head}\n{_where(reports[0])}\n\n{_body(reports[0])}\n"
    return (
        "\n\n".join([head, *(f"{_title(each)}\n{_where(each)}\n\n{_body(each)}" for each in reports)]) + "\n"
    )


def _title(report: EvalReport) -> str:
    word = click.style(WORDS[report.outcome].upper(), fg=COLOURS[report.outcome], bold=True)
    return f"== {click.style(report.subject.suite, bold=True)}  {word}  {tally(report)}"


def _where(report: EvalReport) -> str:
    return plain(f"against {opponent(report)}, on {extent(report)}", 400)


def _body(report: EvalReport) -> str:
    parts = [reasons(report), metrics(report), _slices(report), _examples(report), _facts(report)]
    return "\n\n".join(part for part in parts if part)


def reasons(report: EvalReport) -> str:
    """Every verdict that is no pass, with its figures, and how to do it again."""
    found = open_verdicts(report)
    width = max((len(plain(each.subject, _WIDTH)) for each in found), default=0)
    told = [line for each in found for line in _reason(report, each, width)]
    return "\n".join([*told, f"  reproduce     {plain(report.command, 400)}"] if told else [])


def _reason(report: EvalReport, verdict: Verdict, width: int) -> list[str]:
    word = WORDS[verdict.outcome] if verdict.required else "note"
    colour = COLOURS[verdict.outcome] if verdict.required else None
    proof = prove(report, verdict)
    subject = plain(verdict.subject, _WIDTH).ljust(width)
    first = f"  {click.style(f'{word:<12}', fg=colour)}  {subject}  {plain(proof.reason, 500)}"
    if not verdict.required:
        return [first]
    figures = [f"{name} {text}" for name, text in proof.figures]
    figures += [f"cases {proof.named(_CASES)}"] if proof.cases else []
    return [
        first,
        *([click.style(f"{'':14}  {plain('; '.join(figures), 500)}", dim=True)] if figures else []),
    ]


def metrics(report: EvalReport) -> str:
    """The metric table; empty if nothing was measured."""
    if not report.metrics:
        return ""
    sides = report.measured.sides
    sure = f"{2 * report.subject.rules.confidence - 1:.0%} interval"
    head = ["metric", *sides, "change", sure, "n", "allowed", ""]
    rows = [
        [each.title, *each.values, each.change, each.interval, str(each.n), each.allowed, _word(each.verdict)]
        for each in lines(report)
    ]
    return table([head, *rows], right={*range(1, len(sides) + 2), len(sides) + 3})


def _slices(report: EvalReport) -> str:
    if not (found := slice_table(report)):
        return ""
    head, *rows = found
    failed = failed_slices(report)
    marked = [[plain(row[0], 40), *row[1:], _word(Outcome.FAIL) if row[0] in failed else ""] for row in rows]
    return table([[*head, ""], *marked], right=set(range(1, len(head))))


def _examples(report: EvalReport) -> str:
    measured, opponent_ = report.measured, report.measured.opponent
    if not (asked := [case for case in worst_first(measured) if case.messages]):
        return ""
    moved = [case for case in asked if case.text(opponent_) != case.text(Side.CANDIDATE)][:EXAMPLES]
    return (
        "\n".join(_example(case, report) for case in moved) or f"  no answer differs from the {opponent_}'s"
    )


def _example(case: Case, report: EvalReport) -> str:
    measured = report.measured
    rows = [("prompt", case.messages[-1].content), ("reference", case.reference)]
    rows += [(side.value, case.text(side)) for side in measured.sides]
    told = [f"    {name:<10} {plain(text, _WIDTH) if text.strip() else '(empty)'}" for name, text in rows]
    became = _BECAME[change(case, measured.opponent)]
    return "\n".join([f"  {click.style(case.id, bold=True)}  {plain(case.slice, 40)}, {became}", *told])


def _facts(report: EvalReport) -> str:
    return small_print(facts(report))


def small_print(rows: Sequence[Fact]) -> str:
    """Names and texts, one a line."""
    return "\n".join(click.style(f"{name:<11}{plain(text, 600)}", dim=True) for name, text in rows)


def _word(outcome: Outcome | None) -> str:
    return "" if outcome is None else click.style(WORDS[outcome], fg=COLOURS[outcome])


def table(rows: Sequence[Sequence[str]], *, right: set[int]) -> str:
    """Rows in columns; those in `right` end together."""
    widths = [max(_width(cell) for cell in column) for column in zip_longest(*rows, fillvalue="")]
    return "\n".join(
        "  "
        + "  ".join(_fill(cell, widths[place], place in right) for place, cell in enumerate(row)).rstrip()
        for row in rows
    )


def _fill(cell: str, width: int, right: bool) -> str:
    gap = " " * (width - _width(cell))
    return gap + cell if right else cell + gap


def _width(cell: str) -> int:
    """Columns on the screen: wide letters take two, marks none, colours none."""
    return sum(
        0
        if unicodedata.category(letter).startswith("M")
        else 1 + (unicodedata.east_asian_width(letter) in "WF")
        for letter in click.unstyle(cell)
    )
