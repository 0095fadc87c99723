"""`rollout pause`."""

from __future__ import annotations

from pathlib import Path

import click

from rollout.cli.options import ADAPTER, REASON, site_options


@click.command()
@click.argument("name", type=ADAPTER)
@site_options
@click.option("--reason", type=REASON, required=True, help="Why; it is kept in the ledger.")
def command(name: str, environment: str, root: Path | None, actor: str | None, reason: str) -> int:
    """Let a release go no further until `rollout resume`.

    It is watched meanwhile, and taken back if it does harm. Its deadline goes on too, and ends with a hold.
    """
    from rollout import wiring
    from rollout.usecases.steer import pause

    state = pause(
        wiring.build_world(wiring.find_root(root or Path.cwd()), environment),
        name,
        reason=reason,
        signature=wiring.build_signature(environment, actor),
    )
    click.echo(f"{name} stays at {state.share} in {environment} until it is resumed")
    return 0
