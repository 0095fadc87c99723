"""What replicas serve -> a table for a person, or JSON for machines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import isfinite

import click

from rollout.usecases.survey import Sight

_HEAD = ("replica", "slot", "served", "listed", "path", "effect", "warm")


def as_text(name: str, environment: str, sights: Sequence[Sight]) -> str:
    """One line a replica and version, and what is wrong below."""
    if not sights:
        return f"{name} @ {environment}: the ledger knows no version; begin with `rollout adopt {name} -e {environment}`\n"
    rows = [_HEAD, *(_row(sight) for sight in sights)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = [
        click.style(f"{name} @ {environment}", bold=True),
        *(
            "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ),
        *(
            click.style(f"  {sight.replica}: {sight.complaint}", fg="red")
            for sight in sights
            if sight.complaint is not None
        ),
    ]
    return "\n".join(lines) + "\n"


def as_json(name: str, environment: str, sights: Sequence[Sight]) -> str:
    """One object a replica and version. Differences are in nats; null where nothing was measured, or two tokens differ."""
    data = [_data(sight) for sight in sights]
    document = {
        "schema": "adapter-rollout/coverage/v1",
        "adapter": name,
        "environment": environment,
        "replicas": data,
    }
    return json.dumps(document, indent=2) + "\n"


def _data(sight: Sight) -> dict[str, object]:
    found = sight.found
    return {
        "replica": sight.replica,
        "slot": sight.slot,
        "served": sight.served,
        "listed": sight.path is not None,
        "path": sight.path,
        "in_place": sight.in_place,
        "warm": found is not None,
        "effect": None if found is None else _finite(found.effect),
        "noise": None if found is None else _finite(found.noise),
        "drift": None if found is None else _finite(found.drift),
        "complaint": sight.complaint,
    }


def _row(sight: Sight) -> tuple[str, ...]:
    return (
        sight.replica,
        sight.slot,
        sight.served,
        "yes" if sight.path is not None else "no",
        "of its digest" if sight.in_place else "-" if sight.path is None else "another",
        "-" if sight.found is None else _nats(sight.found.effect),
        "yes" if sight.found is not None else "no",
    )


def _nats(value: float) -> str:
    return f"{value:.2g} nats" if isfinite(value) else "other tokens"


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None
