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
@click.option("--version", help="Which version.  [default: the last of them]")
def command(
    name: str,
    environment: str,
    root: Path | None,
    actor: str | None,
    dry_run: bool,
    reason: str,
    version: str | None,
) -> int:
    """Let a version begin once more that was taken back, or rejected.

    Its bytes leave the quarantine. A rollback had brought the manifest in git back, so that a pull request has to ask
    for the version again; its evaluation still counts. One that came while another was under way, whose plan rejects
    newer versions, begins once that is done.
    """
    from rollout import wiring
    from rollout.core.lifecycle import Rejected
    from rollout.usecases.steer import retry

    past = retry(
        steered_world(root, environment, dry_run=dry_run),
        name,
        reason=reason,
        signature=wiring.build_signature(environment, actor),
        version=version,
    )
    subject, what = (past.rejected, "rejected") if isinstance(past, Rejected) else (past.bad, "taken back")
    served = subject.served_name if subject else name
    tell(
        f"{served} may begin again in {environment}; it was {what} on {past.at:%Y-%m-%d}: {past.reason}",
        dry_run=dry_run,
    )
    return 0
