"""Verdicts as lines of a table: the same in the terminal, in Markdown and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from rollout.core.verdict import Analysis, Outcome, Verdict

COLOURS = {
    Outcome.PASS: "green",
    Outcome.INCONCLUSIVE: "yellow",
    Outcome.NO_DATA: "yellow",
    Outcome.ERROR: "red",
    Outcome.FAIL: "red",
}


def as_lines(analysis: Analysis, indent: str = "  ") -> list[str]:
    """One aligned line a verdict, coloured where the terminal shows colour."""
    width = max((len(verdict.subject) for verdict in analysis.verdicts), default=0)
    return [
        f"{indent}{click.style(f'{verdict.outcome:<12}', fg=COLOURS[verdict.outcome])} "
        f"{verdict.subject:<{width}}  {verdict.reason}"
        for verdict in analysis.verdicts
    ]


def as_markdown(analysis: Analysis) -> list[str]:
    """A Markdown table, empty for no verdicts."""
    if not analysis.verdicts:
        return []
    rows = [
        f"| {cell(verdict.subject)} | {verdict.outcome} | {verdict.samples[0]} / {verdict.samples[1]} "
        f"| {_evidence(verdict)} | {cell(verdict.reason)} |"
        for verdict in analysis.verdicts
    ]
    head = "| metric | outcome | stable / candidate | evidence of harm | because |"
    return [head, "|---|---|---:|---:|---|", *rows]


def as_data(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """Plain data for JSON."""
    return [asdict(verdict) for verdict in verdicts]


def _evidence(verdict: Verdict) -> str:
    return "-" if verdict.e_value is None else f"{verdict.e_value:.3g} : 1"


def cell(text: str) -> str:
    """A text that stays in one cell of a Markdown table."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
