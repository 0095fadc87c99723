"""What the verbs share by which a person steers a release: where they act, and how they tell it, or what they would do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rollout.ports import World


def steered_world(root: Path | None, environment: str, *, dry_run: bool) -> World:
    """The environment's world; for a dry run one in which nothing is kept."""
    from rollout import wiring

    world = wiring.build_world(wiring.find_root(root or Path.cwd()), environment)
    if not dry_run:
        return world
    from rollout.usecases.dryrun import dry_run as unchanging

    return unchanging(world)


def tell(sentence: str, *, dry_run: bool) -> None:
    """What comes of it."""
    click.echo(f"dry run, nothing was recorded: {sentence}" if dry_run else sentence)
