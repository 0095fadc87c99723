"""Drills -> a table for a terminal, Markdown for a page, JSON for machines."""

from __future__ import annotations

import json
from collections.abc import Sequence

import click

from rollout.drill.run import Drill

_COLUMNS = ("flag", "gateways", "ledger", "routes", "git", "verify", "unload")


def head() -> str:
    """The line above the drills."""
    phases = "".join(f"{name:>9}" for name in _COLUMNS)
    return f"  {'drill':<14}{'start':>8}{phases}{'last bad':>10}{'runs':>5}{'verified':>10}"


def line(drill: Drill) -> str:
    """One drill on a line; what is wrong on lines below it."""
    times = {name: (at, ok) for name, at, ok in drill.phases}
    cells = "".join(_padded(times.get(name)) for name in _COLUMNS)
    verified = f"{_seconds(drill.verified_s):>10}"
    told = click.style(verified, fg="green" if drill.passed else "red", bold=not drill.passed)
    name, start, last = drill.fault.name, _seconds(drill.start_s), _seconds(drill.last_routed_s)
    lines = [f"  {name:<14}{start:>8}{cells}{last:>10}{drill.runs:>5}{told}"]
    lines += [click.style(f"      {each}", fg="red") for each in drill.wrong]
    if drill.lost and drill.fault.costs:
        lines.append(click.style(f"      {drill.lost} requests failed: {drill.fault.costs}", dim=True))
    return "\n".join(lines)


def foot(drills: Sequence[Drill], seconds: float) -> str:
    """What it came to."""
    failed = [drill.fault.name for drill in drills if not drill.passed]
    if failed:
        return click.style(
            f"{len(failed)} of {len(drills)} drills failed: {', '.join(failed)}; {seconds:.0f} s",
            fg="red",
            bold=True,
        )
    return click.style(f"all {len(drills)} drills ended verified; {seconds:.0f} s", fg="green", bold=True)


def as_markdown(drills: Sequence[Drill]) -> str:
    """A table for a page."""
    lines = [
        f"| drill | what goes wrong | start | {' | '.join(_COLUMNS)} | last to the bad version | runs | verified |",
        f"|---|---|---:|{'---:|' * len(_COLUMNS)}---:|---:|---:|",
    ]
    for drill in drills:
        times = {name: (at, ok) for name, at, ok in drill.phases}
        cells = " | ".join(_cell(times.get(name)) for name in _COLUMNS)
        verified = _seconds(drill.verified_s) if drill.passed else "**failed**"
        lines.append(
            f"| {drill.fault.name} | {drill.fault.what} | {_seconds(drill.start_s)} | {cells} |"
            f" {_seconds(drill.last_routed_s)} | {drill.runs} | {verified} |"
        )
    return "\n".join(lines) + "\n"


def as_json(drills: Sequence[Drill], seconds: float) -> str:
    """Plain data."""
    data = {
        "schema": "adapter-rollout/drills/v1",
        "passed": all(drill.passed for drill in drills) and bool(drills),
        "seconds": round(seconds, 1),
        "drills": [
            {
                "name": drill.fault.name,
                "what": drill.fault.what,
                "flags": str(drill.fault.flags),
                "passed": drill.passed,
                "runs": drill.runs,
                "start_s": drill.start_s,
                "last_routed_s": drill.last_routed_s,
                "verified_s": drill.verified_s,
                "phases": [{"phase": name, "ended_s": at, "ok": ok} for name, at, ok in drill.phases],
                "lost": drill.lost,
                "wrong": list(drill.wrong),
            }
            for drill in drills
        ],
    }
    return json.dumps(data, indent=2, allow_nan=False) + "\n"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"


def _cell(found: tuple[float, bool] | None) -> str:
    if found is None:
        return "-"
    at, ok = found
    return f"{at:.2f}" if ok else f"{at:.2f} ✗"


def _padded(found: tuple[float, bool] | None) -> str:
    text = f"{_cell(found):>9}"
    return text if found is None or found[1] else click.style(text, fg="yellow")
