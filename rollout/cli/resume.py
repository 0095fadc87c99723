"""`rollout resume`."""

from __future__ import annotations

from pathlib import Path

import click

from rollout.cli.options import ADAPTER, REASON, dry_run_option, site_options
from rollout.cli.steering import steered_world, tell


@click.command()
@click.argument("name", type=ADAPTER)
@site_options
@dry_run_option
@click.option("--reason", type=REASON, required=True, help="Why it may go on; it is kept in the ledger.")
def command(
    name: str, environment: str, root: Path | None, actor: str | None, dry_run: bool, reason: str
) -> int:
    """Let a release that waits for a person go on.

    One that was paused goes on as it was. Where the plan pauses, the person whom it names lets it go on. One whose
    flag somebody turned down goes up again to the step it was at with the next tick, the step begun anew; so is one
    that is held because its users were not served as the flag said, or because a metric source lost its data: then
    nothing is judged of the time since the last look, and what was shown before stays.
    """
    from rollout import wiring
    from rollout.usecases.resume import resume

    state = resume(
        steered_world(root, environment, dry_run=dry_run),
        name,
        reason=reason,
        signature=wiring.build_signature(environment, actor),
    )
    tell(f"{name} goes on from {state.reach} in {environment} with the next tick", dry_run=dry_run)
    return 0
