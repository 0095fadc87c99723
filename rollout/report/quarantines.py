"""Quarantined bytes -> a block each, Markdown or JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import click

from rollout.core.lifecycle import RolledBack
from rollout.core.plain import plain
from rollout.report.verdicts import cell
from rollout.usecases.quarantine import STANDS, Lift, Quarantined


def render(name: str, environment: str, found: Sequence[Quarantined], form: str) -> str:
    """All of an adapter in one of the forms `text`, `json`, `markdown`."""
    if form == "json":
        return _json(
            {"name": name, "environment": environment, "quarantined": [_data(each) for each in found]}
        )
    if not found:
        return f"nothing of {name} is quarantined in {environment}\n"
    if form == "markdown":
        rows = [
            f"| {each.version.version} | `{each.version.identity[:12]}` | {_moment(each.event.at)} |"
            f" {cell(_by(each.event))} | {cell(each.event.reason)} | {cell(_asked(each))} |"
            for each in found
        ]
        head = ["| version | bytes | taken back | by | because | asked for |", "|---|---|---|---|---|---|"]
        return "\n".join([*head, *rows]) + "\n"
    return "\n".join(line for each in found for line in _block(each)) + "\n"


def render_lift(name: str, environment: str, lift: Lift, form: str, *, dry_run: bool) -> str:
    """What came of a wish."""
    if form == "json":
        data = {"name": name, "environment": environment, "lifted": lift.done, "dry_run": dry_run}
        return _json(data | {"was": _data(lift.subject)})
    served = lift.subject.version.served_name
    if lift.done:
        said = f"{served} may begin again in {environment}, once git asks for it"
    else:
        said = (
            f"{served} stays out: a second person has to run the same command within {STANDS.days} days"
            " (`rollout quarantine list` says who asked)"
        )
    return f"{'dry run, nothing was recorded: ' if dry_run else ''}{said}\n"


def _block(each: Quarantined) -> list[str]:
    event = each.event
    called = f" ({event.incident})" if event.incident else ""
    lines = [
        click.style(each.version.served_name, bold=True),
        f"  bytes       {each.version.identity}",
        f"  taken back  {_moment(event.at)} by {_by(event)}{called}: {plain(event.reason, 500, nothing='-')}",
    ]
    return [*lines, f"  asked for   {_asked(each)}"] if each.asked else lines


def _by(event: RolledBack) -> str:
    if event.alert is not None:
        return f"the alert {event.alert.name}"
    return "the judge" if event.automatic else event.actor


def _asked(each: Quarantined) -> str:
    if each.asked is None:
        return "-"
    return f"{_moment(each.asked.at)} by {each.asked.actor}: {plain(each.asked.reason, 500, nothing='-')}"


def _data(each: Quarantined) -> dict[str, Any]:
    event, asked = each.event, each.asked
    return {
        "version": each.version.version,
        "served_name": each.version.served_name,
        "identity": each.version.identity,
        "taken_back_at": event.at.isoformat(),
        "automatic": event.automatic,
        "actor": event.actor,
        "reason": event.reason,
        "incident": event.incident,
        "asked": None
        if asked is None
        else {"at": asked.at.isoformat(), "actor": asked.actor, "reason": asked.reason},
    }


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"


def _json(data: dict[str, Any]) -> str:
    return json.dumps({"schema": "adapter-rollout/quarantine/v1", **data}, indent=2) + "\n"
