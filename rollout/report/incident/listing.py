"""Incidents of an environment, newest first."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

from rollout.core.incident import Incident, times
from rollout.core.plain import plain
from rollout.report.evaluation.markdown import escaped, table
from rollout.report.incident.json import _at
from rollout.report.incident.words import UNKNOWN, moment, seconds
from rollout.report.spans import aligned
from rollout.usecases.incident import Listed

_HEAD = ("adapter", "number", "when", "taken back", "called", "by", "state", "verified after", "reason")


def render_list(found: Sequence[Listed], form: str) -> str:
    """A line an incident in one of the forms `text`, `json`, `markdown`."""
    lines = [(each.name, incident) for each in found for incident in each.incidents]
    lines.sort(key=lambda line: line[1].event.at, reverse=True)
    problems = [(each.name, each.problem) for each in found if each.problem]
    if form == "json":
        document = {
            "schema": "adapter-rollout/incidents/v1",
            "incidents": [_data(name, incident) for name, incident in lines],
            "problems": [{"name": name, "problem": problem} for name, problem in problems],
        }
        return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    rows = [[plain(cell, 300, nothing="-") for cell in _cells(*line)] for line in lines]
    if form == "markdown":
        told = [escaped(f"{name}: {problem}") for name, problem in problems]
        body = table([list(_HEAD), *([escaped(cell) for cell in row] for row in rows)], right=range(1, 2))
        return "\n\n".join([body, *told]) + "\n"
    told = [click.style(f"{name}: {plain(problem, 800, nothing='')}", fg="red") for name, problem in problems]
    if rows:
        told = [*aligned([list(_HEAD), *rows], right=frozenset({1})), *told]
    return "\n".join(told or ["nothing was ever taken back"]) + "\n"


def _cells(name: str, incident: Incident) -> tuple[str, ...]:
    event, verified = incident.event, incident.verified
    return (
        name,
        str(incident.number),
        moment(times(incident).decided_at),
        " and ".join(each.version for each in incident.gone),
        event.incident or "",
        event.alert.name if event.alert else "the judge" if event.automatic else event.actor,
        _state(incident),
        UNKNOWN if verified is None else seconds(verified.verified_s),
        event.reason,
    )


def _state(incident: Incident) -> str:
    missing = [
        word
        for word, done in (("verified", incident.verified), ("reverted", incident.reverted))
        if done is None
    ]
    return f"not {' and not '.join(missing)}" if missing else "done"


def _data(name: str, incident: Incident) -> dict[str, Any]:
    event, found = incident.event, times(incident)
    return {
        "name": name,
        "environment": event.environment,
        "number": incident.number,
        "incident": event.incident,
        "decided_at": _at(found.decided_at),
        "taken_back": [each.served_name for each in incident.gone],
        "automatic": event.automatic,
        "actor": event.actor,
        "reason": event.reason,
        "verified": incident.verified is not None,
        "reverted": incident.reverted is not None,
        **{f"time_to_{name}_s": each.seconds for name, each in found.spans.items()},
    }
