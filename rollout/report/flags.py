"""Checks of a flag and looks at it -> text for a person, JSON for machines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from math import isfinite

import click

from rollout.core.flagcheck import FlagCheck, Standing, why_not_ready
from rollout.core.plain import plain
from rollout.usecases.flagsight import FlagSight, GatewaySight

_LONGEST = 2000
_COLOURS = {
    Standing.OK: "green",
    Standing.WARNING: "yellow",
    Standing.BLOCKED: "red",
    Standing.UNKNOWN: "red",
}


def checks_as_text(key: str, environment: str, checks: Sequence[FlagCheck]) -> str:
    """One line a check, what to do below it, and the sum of it."""
    widest = max((len(each.id) for each in checks), default=0)
    lines = [click.style(_shown(f"{key} @ {environment}"), bold=True)]
    for each in checks:
        mark = click.style(each.standing.value.ljust(8), fg=_COLOURS[each.standing])
        lines.append(f"  {mark} {_shown(each.id).ljust(widest)}  {_shown(each.detail)}".rstrip())
        if each.advice and each.standing is not Standing.OK:
            lines.append(" " * (widest + 13) + _shown(each.advice))
    why = why_not_ready(checks)
    lines.append("a release may begin" if why is None else "a release may not begin on this flag")
    return "\n".join(lines) + "\n"


def checks_as_json(key: str, environment: str, checks: Sequence[FlagCheck]) -> str:
    """All checks, and why a release may not begin (null if it may)."""
    document = {
        "schema": "adapter-rollout/flag-doctor/v1",
        "flag": key,
        "environment": environment,
        "why_not_ready": why_not_ready(checks),
        "checks": [
            {"id": each.id, "standing": each.standing.value, "detail": each.detail, "advice": each.advice}
            for each in checks
        ],
    }
    return json.dumps(document, indent=2) + "\n"


def sight_as_text(sight: FlagSight, at: datetime) -> str:
    """One line: share, version, who, and each gateway's version."""
    gateways = "  ".join(_gateway(each, sight) for each in sight.gateways)
    clock = at.strftime("%H:%M:%S")
    state = sight.state
    if state is None:
        return f"{clock}  {click.style(_shown(sight.complaint or 'unknown'), fg='red')}  {gateways}".rstrip()
    turned = "on " if state.on else "off"
    served = f"{state.reach}" if state.reach == state.would_reach else f"{state.reach} of {state.would_reach}"
    return f"{clock}  {turned}  {served}  version {state.version}  by {_shown(state.changed_by)}  {gateways}".rstrip()


def sight_as_json(sight: FlagSight, at: datetime) -> str:
    """One object in one line."""
    state = sight.state
    flag = None
    if state is not None:
        flag = {
            "on": state.on,
            "share": str(state.share),
            "effective": str(state.effective),
            "version": state.version,
            "changed_by": state.changed_by,
        }
    document = {
        "schema": "adapter-rollout/flag-watch/v1",
        "at": at.isoformat(),
        "flag": sight.key,
        "state": flag,
        "complaint": sight.complaint,
        "converged": sight.converged,
        "gateways": [_gateway_data(each) for each in sight.gateways],
    }
    return json.dumps(document)


def _shown(text: str) -> str:
    """Words of others, fit for a terminal."""
    return plain(text, _LONGEST, nothing="")


def _gateway(each: GatewaySight, sight: FlagSight) -> str:
    if each.complaint is not None:
        return click.style(f"{_shown(each.gateway)}: no answer", fg="red")
    behind = sight.state is not None and (each.version or 0) < sight.state.version
    text = f"{_shown(each.gateway)}: {'none' if each.version is None else each.version} ({_shown(str(each.source))})"
    return click.style(text, fg="yellow") if behind else text


def _gateway_data(each: GatewaySight) -> dict[str, object]:
    age_s = each.age_s
    return {
        "gateway": each.gateway,
        "version": each.version,
        "age_s": age_s if age_s is not None and isfinite(age_s) else None,
        "source": each.source,
        "complaint": each.complaint,
    }
