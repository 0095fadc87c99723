"""An adapter of which nothing can be told -> the block, the section or the object that stands where its status would."""

from __future__ import annotations

import click

from rollout.report.findings.plain import visible
from rollout.report.verdicts import cell
from rollout.usecases.overview import Untold

_WORST_FIRST = (70, 1, 5, 3, 4, 6, 2)


def gravest(statuses: set[int]) -> int:
    """Of exit statuses: bugs, what was taken back or blocked, a changed world, what could not be read or reached."""
    return next((status for status in _WORST_FIRST if status in statuses), 0)


def advice(untold: Untold) -> str:
    """What to do, on one line; commands name the environment."""
    return visible(untold.error.advice).replace("-e ENV", f"-e {untold.environment}")


def as_block(untold: Untold) -> list[str]:
    """For people: what is wrong, and what to do."""
    lines = [click.style(f"{untold.name} @ {untold.environment}: cannot be told", bold=True)]
    lines.append(click.style(f"  failed     {visible(untold.error.message)}", fg="red"))
    if untold.error.advice:
        lines.append(f"  next       {advice(untold)}")
    return [*lines, f"  runbook    rollout runbook {untold.error.code}"]


def as_section(untold: Untold) -> list[str]:
    """The same in Markdown."""
    lines = [f"### {untold.name} in {untold.environment}: cannot be told", ""]
    lines.append(f"- **failed: {cell(visible(untold.error.message))}**")
    if untold.error.advice:
        lines.append(f"- next: {cell(advice(untold))}")
    return [*lines, f"- runbook: `rollout runbook {untold.error.code}`"]


def as_data(untold: Untold) -> dict[str, object]:
    """The same for machines."""
    error = untold.error
    return {
        "name": untold.name,
        "environment": untold.environment,
        "error": {
            "code": error.code,
            "message": error.message,
            "advice": advice(untold),
            "runbook": error.code,
        },
        "exit_status": error.exit_status,
    }
