"""`rollout retry`."""

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
@click.option("--version", help="Which version it has to be.")
def command(
    name: str,
    environment: str,
    root: Path | None,
    actor: str | None,
    dry_run: bool,
    reason: str,
    version: str | None,
) -> int:
    """Let a version begin that was rejected.

    It came while another was under way, whose plan rejects newer ones.

    What was taken back needs two people: `rollout quarantine lift`.
    """
    from rollout import wiring
    from rollout.usecases.steer import retry

    past = retry(
        steered_world(root, environment, dry_run=dry_run),
        name,
        reason=reason,
        signature=wiring.build_signature(environment, actor),
        version=version,
    )
    tell(
        f"{past.rejected.served_name} may begin in {environment}; it was rejected on {past.at:%Y-%m-%d}: {past.reason}",
        dry_run=dry_run,
    )
    return 0
