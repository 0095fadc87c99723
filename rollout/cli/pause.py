"""`rollout pause`."""

from __future__ import annotations

from pathlib import Path

import click

from rollout.cli.options import ADAPTER, REASON, dry_run_option, site_options
from rollout.cli.steering import steered_world, tell


@click.command()
@click.argument("name", type=ADAPTER)
@site_options
@dry_run_option
@click.option("--reason", type=REASON, required=True, help="Why; it is kept in the ledger.")
def command(
    name: str, environment: str, root: Path | None, actor: str | None, dry_run: bool, reason: str
) -> int:
    """Let a release go no further until `rollout resume`.

    It is watched meanwhile, and taken back if it does harm. Its deadline goes on too, and ends with a hold.
    """
    from rollout import wiring
    from rollout.usecases.steer import pause

    state = pause(
        steered_world(root, environment, dry_run=dry_run),
        name,
        reason=reason,
        signature=wiring.build_signature(environment, actor),
    )
    tell(f"{name} stays at {state.reach} in {environment} until it is resumed", dry_run=dry_run)
    return 0
