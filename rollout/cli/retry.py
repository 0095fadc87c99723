"""`rollout retry`."""

from __future__ import annotations

from pathlib import Path

import click

from rollout.cli.options import ADAPTER, REASON, site_options


@click.command()
@click.argument("name", type=ADAPTER)
@site_options
@click.option("--reason", type=REASON, required=True, help="Why; it is kept in the ledger.")
@click.option("--version", help="Which version.  [default: the one that was taken back last]")
def command(
    name: str, environment: str, root: Path | None, actor: str | None, reason: str, version: str | None
) -> int:
    """Let a version that was taken back begin once more.

    Its bytes leave the quarantine. The rollback had brought the manifest in git back, so that a pull request has to
    ask for the version again; its evaluation still counts.
    """
    from rollout import wiring
    from rollout.usecases.steer import retry

    past = retry(
        wiring.build_world(wiring.find_root(root or Path.cwd()), environment),
        name,
        reason=reason,
        signature=wiring.build_signature(environment, actor),
        version=version,
    )
    served = past.bad.served_name if past.bad else name
    click.echo(
        f"{served} may begin again in {environment}; it was taken back on {past.at:%Y-%m-%d}: {past.reason}"
    )
    return 0
