"""Routes as they stand, for a person or a machine."""

from __future__ import annotations

import json
from collections.abc import Sequence

import click

from rollout.core.routes import Routes
from rollout.core.split import Split


def as_text(routes: Routes, splits: Sequence[Split]) -> str:
    """One block a logical name."""
    lines = [click.style(f"{routes.environment}: routes revision {routes.revision}", bold=True)]
    if not splits:
        lines.append(f"  no routes; begin with `rollout adopt NAME -e {routes.environment}`")
    for split in splits:
        route = split.route
        lines += [
            f"  {split.name}",
            f"    stable     {route.stable}",
            f"    candidate  {route.candidate or '-'}",
            f"    share      {split.share} ({split.reason})",
            f"    flag       {route.flag}, version {route.min_flag_version} or later"
            + ("" if route.max_flag_age_s is None else f", not older than {route.max_flag_age_s:g} s"),
            f"    mirror     {route.mirror}",
        ]
    return "\n".join(lines) + "\n"


def as_json(routes: Routes, splits: Sequence[Split]) -> str:
    """The routes document with what each flag makes of it."""
    data = {
        split.name: {
            "stable": split.route.stable,
            "candidate": split.route.candidate,
            "flag": split.route.flag,
            "flag_version": split.flag_version,
            "min_flag_version": split.route.min_flag_version,
            "max_flag_age_s": split.route.max_flag_age_s,
            "mirror": str(split.route.mirror),
            "share": str(split.share),
            "reason": split.reason,
            "targets": dict(split.targets),
        }
        for split in splits
    }
    document = {
        "schema": "adapter-rollout/splits/v1",
        "environment": routes.environment,
        "revision": routes.revision,
        "routes": data,
    }
    return json.dumps(document, indent=2) + "\n"
