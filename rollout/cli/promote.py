"""`rollout promote`."""

from __future__ import annotations

from pathlib import Path

import click

from rollout.cli.options import ADAPTER, REASON, site_options


@click.command()
@click.argument("name", type=ADAPTER)
@site_options
@click.option("--reason", type=REASON, required=True, help="Why; it is kept in the ledger.")
def command(name: str, environment: str, root: Path | None, actor: str | None, reason: str) -> int:
    """Let a candidate go to everybody with the next tick, without waiting for proof.

    For the day on which stable is what is broken. Every replica must serve it, and shown harm still takes it back.
    At 100 % it is watched as the plan says; a second `rollout promote` there ends that too.
    """
    from rollout import wiring
    from rollout.usecases.steer import hasten

    state = hasten(
        wiring.build_world(wiring.find_root(root or Path.cwd()), environment),
        name,
        reason=reason,
        signature=wiring.build_signature(environment, actor),
    )
    served = state.candidate.served_name if state.candidate else name
    click.echo(f"{served} goes on from {state.share} in {environment} with the next tick, without proof")
    return 0
