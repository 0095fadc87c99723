"""`rollout quarantine lift`."""

from __future__ import annotations

from pathlib import Path

import click

from rollout.cli.options import ADAPTER, REASON, dry_run_option, output_options, site_options
from rollout.cli.steering import steered_world


@click.command()
@click.argument("name", type=ADAPTER)
@click.option("--version", help="The version that was taken back.  [default: the only one]")
@click.option("--digest", help="The beginning of the digest of its bytes, instead.")
@site_options
@dry_run_option
@click.option("--reason", type=REASON, required=True, help="Why; it is kept in the ledger.")
@output_options
def command(
    name: str,
    version: str | None,
    digest: str | None,
    environment: str,
    root: Path | None,
    actor: str | None,
    dry_run: bool,
    reason: str,
    form: str,
) -> int:
    """Let bytes begin once more that were taken back: two people have to want it.

    The first one asks, and within a week a second one, by another name, runs the same command. A rollback had brought
    the manifest in git back, so that a pull request has to ask for the version again; its evaluation still counts.
    """
    from rollout import wiring
    from rollout.report import quarantines
    from rollout.usecases.quarantine import lift

    lifted = lift(
        steered_world(root, environment, dry_run=dry_run),
        name,
        reason=reason,
        signature=wiring.build_signature(environment, actor),
        version=version,
        digest=digest,
    )
    click.echo(quarantines.render_lift(name, environment, lifted, form, dry_run=dry_run), nl=False)
    return 0
