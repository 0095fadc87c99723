"""`rollout promote`."""

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
    """Let a candidate go to everybody with the next tick, without waiting for proof.

    For the day on which stable is what is broken. Every replica must serve the candidate, and shown harm still takes it
    back. At 100 % it is watched as the plan says; a second `rollout promote` there ends that too. Where no release is
    under way, the version that git asks for begins, if it is evaluated and allowed, even if no server can load stable.
    """
    from rollout import wiring
    from rollout.usecases.steer import hasten

    state = hasten(
        steered_world(root, environment, dry_run=dry_run),
        name,
        reason=reason,
        signature=wiring.build_signature(environment, actor),
    )
    if state.candidate is None:
        tell(
            f"what git asks for {name} begins in {environment} with the next tick, and waits for no proof",
            dry_run=dry_run,
        )
    else:
        served = state.candidate.served_name
        tell(
            f"{served} goes on from {state.reach} in {environment} with the next tick, without proof",
            dry_run=dry_run,
        )
    return 0
