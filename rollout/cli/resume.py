"""`rollout resume`."""

from __future__ import annotations

from pathlib import Path

import click

from rollout.cli.options import ADAPTER, REASON, site_options


@click.command()
@click.argument("name", type=ADAPTER)
@site_options
@click.option("--reason", type=REASON, required=True, help="Why it may go on; it is kept in the ledger.")
def command(name: str, environment: str, root: Path | None, actor: str | None, reason: str) -> int:
    """Let a release that somebody turned down by hand go on.

    The next tick takes it up again to the step it was at, and its time there begins anew.
    """
    from rollout import wiring
    from rollout.usecases.resume import resume

    place = wiring.find_root(root or Path.cwd())
    lowered = resume(
        wiring.build_world(place, environment),
        name,
        reason=reason,
        signature=wiring.build_signature(environment, actor),
    )
    click.echo(f"{name} goes on from {lowered.share} in {environment} with the next tick")
    return 0
