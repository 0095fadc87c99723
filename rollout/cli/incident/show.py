"""`rollout incident show`."""

from __future__ import annotations

from pathlib import Path

import click

from rollout.cli.incident.choosing import choice_options, chosen
from rollout.cli.options import ADAPTER, output_options, site_options


@click.command()
@click.argument("name", type=ADAPTER)
@choice_options
@site_options
@output_options
def command(
    name: str,
    number: int | None,
    called: str | None,
    environment: str,
    root: Path | None,
    actor: str | None,
    form: str,
) -> int:
    """Show one incident: summary, times, impact, timeline.

    From the ledger, git, the flag's audit and the traffic log. What a source does not tell any more is named. Nothing is
    changed.
    """
    from rollout.report import incident

    del actor  # Looking leaves no trace.
    _, record = chosen(root, environment, name, number, called)
    render = {"text": incident.to_text, "json": incident.to_json, "markdown": incident.to_markdown}[form]
    click.echo(render(record), nl=False)
    return 0
