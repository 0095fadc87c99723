"""An evaluation report for the terminal: the verdict first, then why, then the figures."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from types import MappingProxyType

import click

from rollout.core.evaluation import EvalReport, Example, Side
from rollout.core.verdict import Outcome
from rollout.report.evaluation import (
    WORDS,
    facts,
    failed_slices,
    headline,
    lines,
    open_verdicts,
    opponent,
    slice_table,
    visible,
)

EXAMPLES = 3
_WIDTH = 100
_COLOURS: Mapping[Outcome, str] = MappingProxyType(
    {
        Outcome.PASS: "green",
        Outcome.INCONCLUSIVE: "yellow",
        Outcome.NO_DATA: "yellow",
        Outcome.ERROR: "red",
        Outcome.FAIL: "red",
    }
)


def to_text(report: EvalReport) -> str:
    """The report as text with colours; `click.echo` takes them away where there is no terminal."""
    parts = [
        _verdict(report),
        _reasons(report),
        _metrics(report),
        _slices(report),
        _examples(report),
        _facts(report),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def plain(text: str, width: int = _WIDTH) -> str:
    """Text of a model or a file on one line: nothing in it can move the cursor or colour the terminal."""
    safe = visible(text.replace("\n", "\\n").replace("\r", "\\r").replace("\t", " "))
    return safe if len(safe) <= width else safe[: width - 1] + "…"


def _verdict(report: EvalReport) -> str:
    word = click.style(WORDS[report.outcome].upper(), fg=_COLOURS[report.outcome], bold=True)
    where = f"against {opponent(report)}, on {report.suite} ({len(report.measured.items)} items)"
    return f"{word}  {click.style(plain(headline(report)), bold=True)}\n{plain(where, 400)}"


def _reasons(report: EvalReport) -> str:
    found = open_verdicts(report)
    if not found:
        return ""
    width = max(len(plain(each.subject)) for each in found)
    told = []
    for each in found:
        word = WORDS[each.outcome] if each.required else "note"
        colour = _COLOURS[each.outcome] if each.required else None
        told.append(
            f"  {click.style(f'{word:<12}', fg=colour)}  {plain(each.subject):<{width}}  {plain(each.reason, 500)}"
        )
    return "\n".join(told)


def _metrics(report: EvalReport) -> str:
    sides = report.measured.sides
    head = ["metric", *sides, "change", f"{2 * report.rules.confidence - 1:.0%} interval", "allowed", ""]
    rows = [
        [each.title, *each.values, each.change, each.interval, each.allowed, _word(each.verdict)]
        for each in lines(report)
    ]
    return _table([head, *rows], right=range(1, len(sides) + 2))


def _slices(report: EvalReport) -> str:
    head, *rows = slice_table(report)
    failed = failed_slices(report)
    marked = [[plain(row[0], 40), *row[1:], _word(Outcome.FAIL) if row[0] in failed else ""] for row in rows]
    return _table([[*head, ""], *marked], right=range(1, len(head)))


def _examples(report: EvalReport) -> str:
    opponent = report.measured.opponent
    changed = [each for each in report.examples if each.answers[Side.CANDIDATE] != each.answers[opponent]]
    return (
        "\n".join(_example(each) for each in changed[:EXAMPLES])
        or f"  no answer differs from the {opponent}'s"
    )


def _example(example: Example) -> str:
    fallen = "fell" if example.drop > 0 else "rose" if example.drop < 0 else "same"
    rows = [
        ("prompt", example.messages[-1].content),
        ("reference", example.reference),
        *example.answers.items(),
    ]
    told = [f"    {name:<10} {plain(text) if text.strip() else '(empty)'}" for name, text in rows]
    return "\n".join([f"  {click.style(example.id, bold=True)}  {plain(example.slice, 40)}, {fallen}", *told])


def _facts(report: EvalReport) -> str:
    return "\n".join(click.style(f"{name:<11}{plain(value, 400)}", dim=True) for name, value in facts(report))


def _word(outcome: Outcome | None) -> str:
    return "" if outcome is None else click.style(WORDS[outcome], fg=_COLOURS[outcome])


def _table(rows: Sequence[Sequence[str]], *, right: range) -> str:
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
