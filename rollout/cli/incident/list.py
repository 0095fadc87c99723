"""`rollout incident list`."""

from __future__ import annotations

from pathlib import Path

import click

from rollout.cli.options import ADAPTER, output_options, site_options


@click.command()
@click.argument("name", type=ADAPTER, required=False)
@site_options
@output_options
def command(name: str | None, environment: str, root: Path | None, actor: str | None, form: str) -> int:
    """List what was taken back, newest first.

    Of one adapter, or of all of an environment. Nothing is changed. A ledger that cannot be read in full is named, and the
    exit status is that of its error.
    """
    from rollout import wiring
    from rollout.report import incident
    from rollout.usecases.incident import list_incidents
    from rollout.wiring.incidents import incident_sources

    del actor  # Looking leaves no trace.
    folder = wiring.find_root(root or Path.cwd())
    found = list_incidents(incident_sources(folder, environment), name)
    click.echo(incident.render_list(found, form), nl=False)
    return max((each.exit_status for each in found), default=0)
