"""A comparison over traffic for the terminal: the verdict first, then why, then the figures."""

from __future__ import annotations

import click

from rollout.core.evaluation import Case, Side
from rollout.core.shadow.document import ShadowReport
from rollout.core.worst import worst_first
from rollout.report.evaluation.lines import WORDS
from rollout.report.evaluation.plain import plain
from rollout.report.evaluation.text import COLOURS, metrics, reasons, small_print, table
from rollout.report.shadow.lines import account, drawn, failure_table, headline, small_facts, where

_EXAMPLES = 3
_WIDTH = 100


def to_text(report: ShadowReport) -> str:
    """The report as text with colours; `click.echo` takes them away where there is no terminal."""
    word = click.style(WORDS[report.outcome].upper(), fg=COLOURS[report.outcome], bold=True)
    head = f"{word}  {click.style(plain(headline(report), 400), bold=True)}\n{plain(where(report), 400)}"
    view = drawn(report)
    parts = [
        head,
        small_print(account(report)),
        reasons(view),
        metrics(view),
        _failures(report),
        _examples(report),
        small_print(small_facts(report)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _failures(report: ShadowReport) -> str:
    rows = failure_table(report)
    return table(rows, right={1, 2, 3}) if rows else ""


def _examples(report: ShadowReport) -> str:
    opponent = report.subject.opponent
    told = [case for case in worst_first(report.measured) if case.replies]
    moved = [case for case in told if case.text(opponent) != case.text(Side.CANDIDATE)][:_EXAMPLES]
    if not moved:
        return "  no answer differs from stable's, letter by letter" if told else ""
    return "\n".join(_example(case, report) for case in moved)


def _example(case: Case, report: ShadowReport) -> str:
    asked = case.messages[-1].content if case.messages else ""
    rows = [
        ("prompt", asked),
        ("stable", case.text(report.subject.opponent)),
        ("candidate", case.text(Side.CANDIDATE)),
    ]
    told = [f"    {name:<10} {plain(text, _WIDTH) if text.strip() else '(empty)'}" for name, text in rows]
    near = case.scores[Side.CANDIDATE].get("agreement")
    told_near = "" if near is None else f", agreement {near:.2f}"
    return "\n".join([f"  {click.style(case.id, bold=True)}  {plain(case.slice, 40)}{told_near}", *told])
