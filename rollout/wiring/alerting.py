"""Whoever alerts are told to: worlds of their own for each adapter, and the receiver of bodies."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rollout.wiring.places import load_environment
from rollout.wiring.worlds import build_signature, build_world

if TYPE_CHECKING:
    from rollout.usecases.alerted import Alerted


def alerted(root: Path, environment: str, actor: str | None = None) -> Alerted:
    """Does what alerts ask for in one environment of the repository at `root`."""
    from rollout.usecases.alerted import Alerted

    return Alerted(
        environment=load_environment(environment, root),
        open_world=partial(build_world, root, environment),
        signature=build_signature(environment, actor),
    )
