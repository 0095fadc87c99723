"""Verdicts as lines of a table: the same in the terminal, in Markdown and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import inf, isfinite, log
from typing import Any

import click

from rollout.core.metric import Kind
from rollout.core.stats import as_odds
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


def as_markdown(
    analysis: Analysis,
    *,
    kinds: Mapping[str, Kind] | None = None,
    act_at: tuple[float, float] | None = None,
) -> list[str]:
    """A Markdown table, empty for no verdicts. `act_at` are the odds that harm, and that no worse, is found at."""
    if not analysis.verdicts:
        return []
    harm, proof = ("", "") if act_at is None else (f" (of {odds(act_at[0])})", f" (of {odds(act_at[1])})")
    rows = [
        f"| {cell(verdict.subject)} | {_marked(verdict)} | {verdict.samples[0]:,} / {verdict.samples[1]:,} "
        f"| {effect(verdict, (kinds or {}).get(verdict.subject))} | {odds(verdict.e_value)} "
        f"| {odds(verdict.proof)} | {_needed(verdict)} | {cell(verdict.reason)} |"
        for verdict in analysis.verdicts
    ]
    head = (
        "| metric | outcome | stable / candidate | effect "
        f"| evidence of harm{harm} | of no worse{proof} | needed | because |"
    )
    return [head, "|---|---|---:|---|---:|---:|---:|---|", *rows]


def as_data(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """Plain data for JSON."""
    return [asdict(verdict) for verdict in verdicts]


def odds(e_value: float | None) -> str:
    """Evidence as people read it: `340 : 1`."""
    return "-" if e_value is None else as_odds(log(e_value) if e_value > 0 else -inf)


def effect(verdict: Verdict, kind: Kind | None) -> str:
    """How the candidate differs, with its interval: points of a rate, per cent of a time, or a score's own unit."""
    if verdict.effect is None:
        return "-"
    unit = " points" if kind is Kind.RATE else ""
    told = f"{_in_unit(verdict.effect, kind)}{unit}"
    if verdict.interval is None:
        return told
    low, high = verdict.interval.low, verdict.interval.high
    return f"{told} ({_in_unit(low, kind)} to {_in_unit(high, kind)})"


def _in_unit(value: float, kind: Kind | None) -> str:
    if not isfinite(value):
        return "unbounded"
    if kind is Kind.RATE:
        return f"{100 * value:+.2g}"
    return f"{100 * value:+.0f}%" if kind is Kind.LATENCY else f"{value:+.2g}"


def _needed(verdict: Verdict) -> str:
    """Requests of the candidate in all."""
    return "-" if verdict.projected is None else f"about {verdict.projected:,}"


def _marked(verdict: Verdict) -> str:
    loud = verdict.outcome in (Outcome.FAIL, Outcome.ERROR)
    told = f"**{verdict.outcome}**" if loud else str(verdict.outcome)
    return told if verdict.required else f"{told} (not required)"


def cell(text: str) -> str:
    """A text that stays in one cell of a Markdown table."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
