"""A tick -> text, JSON or Markdown, and its exit status."""

from __future__ import annotations

import json

import click

from rollout.core.lifecycle import RolloutState
from rollout.core.runbook import pointer
from rollout.report import rollbacks, runbooks, verdicts
from rollout.report.spans import wording
from rollout.usecases.tick import Move, Tick

_COLOURS = {
    Move.BLOCKED: "red",
    Move.ROLLED_BACK: "red",
    Move.HALTED: "red",
    Move.OVERDUE: "yellow",
    Move.HELD: "yellow",
    Move.IDLE: None,
}
_STATUSES = {Move.BLOCKED: 1, Move.ROLLED_BACK: 1, Move.HALTED: 5, Move.OVERDUE: 6}


def exit_status(tick: Tick) -> int:
    """0 if nothing blocks; a rollback that is not complete yet is a matter for a retry."""
    if tick.rollback is not None and not tick.rollback.complete:
        return rollbacks.exit_status(tick.rollback)
    return _STATUSES.get(tick.move, 0)


def render(tick: Tick, form: str) -> str:
    """The tick in one of the forms `text`, `json`, `markdown`."""
    return {"text": _as_text, "json": _as_json, "markdown": _as_markdown}[form](tick)


def news(tick: Tick) -> object:
    """What makes one tick differ from another: neither how long things took, nor how many were counted."""
    rollback = tick.rollback
    return (
        tick.move,
        place(tick.after),
        wording(tick.reason),
        wording(tick.waiting or ""),
        tuple((each.subject, each.outcome) for each in tick.analysis.verdicts),
        ()
        if rollback is None
        else tuple((each.phase, each.ok, wording(each.detail)) for each in rollback.phases),
        tick.untold,
    )


def headline(tick: Tick) -> list[str]:
    """What it came to, in Markdown."""
    alert, page = "CAUTION" if exit_status(tick) else "NOTE", runbooks.of_tick(tick)
    return [
        f"### {tick.name} in {tick.environment}: {tick.move.replace('_', ' ')}",
        "",
        f"> [!{alert}]",
        f"> {place(tick.before)} → {place(tick.after)}: {verdicts.cell(tick.reason)}",
        *([f"> What to do: `rollout runbook {page}`"] if page else []),
        "",
    ]


def place(state: RolloutState) -> str:
    """Where a state is, in two words."""
    return f"{state.phase} {state.reach}" if state.phase.under_way else str(state.phase)


def _as_text(tick: Tick) -> str:
    move = click.style(tick.move.replace("_", " "), fg=_COLOURS.get(tick.move, "green"), bold=True)
    lines = [f"{tick.name} @ {tick.environment}: {move} ({place(tick.after)}): {tick.reason}"]
    lines += verdicts.as_lines(tick.analysis)
    if tick.waiting:
        lines.append(f"  {tick.waiting}")
    if tick.rollback:
        lines += [rollbacks.phase_line(phase) for phase in tick.rollback.phases]
    if page := runbooks.of_tick(tick):
        lines.append(f"  {pointer(page)}")
    lines += [click.style(f"  not told: {each}", fg="yellow") for each in tick.untold]
    return "\n".join(lines) + "\n"


def _as_json(tick: Tick) -> str:
    data = {
        "schema": "adapter-rollout/tick/v1",
        "name": tick.name,
        "environment": tick.environment,
        "decision": str(tick.move),
        "reason": tick.reason,
        "phase": str(tick.after.phase),
        "share": str(tick.after.share),
        "stable": tick.after.stable.served_name if tick.after.stable else None,
        "candidate": tick.after.candidate.served_name if tick.after.candidate else None,
        "outcome": str(tick.analysis.outcome),
        "verdicts": verdicts.as_data(tick.analysis.verdicts),
        "waiting": tick.waiting,
        "untold": list(tick.untold),
        "rollback": rollbacks.as_data(tick.rollback) if tick.rollback else None,
        "runbook": runbooks.of_tick(tick),
        "exit_status": exit_status(tick),
    }
    return json.dumps(data, indent=2, allow_nan=False) + "\n"


def _as_markdown(tick: Tick) -> str:
    lines = [*headline(tick), *verdicts.as_markdown(tick.analysis)]
    if tick.rollback:
        lines += ["", *rollbacks.as_markdown_table(tick.rollback)]
    lines += ["", *(f"Not told: {verdicts.cell(each)}" for each in tick.untold)] if tick.untold else []
    return "\n".join(lines) + "\n"
