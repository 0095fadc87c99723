"""Ticks that changed nothing -> text or JSON: what each would have recorded, and what it would have changed first."""

from __future__ import annotations

import json
from collections.abc import Sequence

import click

from rollout.core.runbook import pointer
from rollout.report import ticks, untold
from rollout.report.events import tell
from rollout.report.findings.plain import harmless, visible
from rollout.usecases.dryrun import Rehearsal


def exit_status(found: Sequence[Rehearsal]) -> int:
    """The gravest one; 0 for what would change something, for nobody knows how that would end."""
    return untold.gravest({_status(each) for each in found})


def render(found: Sequence[Rehearsal], form: str) -> str:
    """All of them as `json`, or in lines for people."""
    if form == "json":
        data = {"schema": "adapter-rollout/dry-run/v1", "adapters": [_data(each) for each in found]}
        return json.dumps({**data, "exit_status": exit_status(found)}, indent=2, allow_nan=False) + "\n"
    lines = [line for each in found for line in _lines(each)]
    return "\n".join([*lines, "dry run: nothing was changed"]) + "\n"


def _lines(rehearsal: Rehearsal) -> list[str]:
    name = f"{harmless(visible(rehearsal.name))} @ {rehearsal.environment}"
    if rehearsal.error is not None:
        failed = click.style("would fail", fg="red", bold=True)
        told = visible(f"{rehearsal.error.message}. {rehearsal.error.advice}")
        return [f"{name}: {failed}: {told}", f"  {pointer(rehearsal.error.code)}"]
    lines = [f"{name}: would record: {visible(tell(event))}" for event in rehearsal.recorded]
    if rehearsal.change is not None:
        first = click.style(f"would {visible(rehearsal.change)}", bold=True)
        return [*lines, f"{name}: {first}, and go on from there"]
    assert rehearsal.tick is not None
    return [*lines, ticks.render(rehearsal.tick, "text").rstrip("\n")]


def _status(rehearsal: Rehearsal) -> int:
    if rehearsal.error is not None:
        return rehearsal.error.exit_status
    return 0 if rehearsal.tick is None else ticks.exit_status(rehearsal.tick)


def _data(rehearsal: Rehearsal) -> dict[str, object]:
    error = rehearsal.error
    return {
        "name": rehearsal.name,
        "environment": rehearsal.environment,
        "would_record": [{"kind": event.kind, "told": tell(event)} for event in rehearsal.recorded],
        "would_change_first": rehearsal.change,
        "tick": None if rehearsal.tick is None else json.loads(ticks.render(rehearsal.tick, "json")),
        "error": None
        if error is None
        else {
            "code": error.code,
            "message": error.message,
            "advice": error.advice,
            "runbook": error.code,
        },
    }
