"""`rollout rollback`."""

from __future__ import annotations

from pathlib import Path

import click

from rollout.cli.options import ADAPTER, LINE, output_options, site_options
from rollout.errors import Unreadable


@click.command()
@click.argument("name", type=ADAPTER)
@click.option("--reason", required=True, help="Why, for the ledger, the commit and whoever reads them.")
@click.option(
    "--to",
    metavar="VERSION|base",
    help="Where stable is bad too: an earlier version that everybody had, or the base model.",
)
@click.option(
    "--incident", type=LINE, help="How others call what happened, like INC-1234; for ledger and commit."
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and change nothing.")
@site_options
@output_options
def command(
    name: str,
    reason: str,
    to: str | None,
    incident: str | None,
    dry_run: bool,
    environment: str,
    root: Path | None,
    actor: str | None,
    form: str,
) -> int:
    """Take an adapter back: flag first, then ledger, git and proof.

    Every phase is printed with its time. Safe to kill and to run again, by several people at once. Exit status
    0: all is done and verified; 4: the flag or the routes keep users safe, but a later phase is to be repeated.
    """
    from rollout import wiring
    from rollout.core.plain import plain
    from rollout.report import rollbacks
    from rollout.usecases.rollback import rollback

    place = wiring.find_root(root or Path.cwd())
    world = wiring.build_world(place, environment)
    if dry_run:
        click.echo(rollbacks.preview(world, name, to=to), nl=False)
        return 0
    live = form == "text"
    report = rollback(
        world,
        name,
        reason=plain(reason, 2000, nothing="no reason given"),
        to=to,
        incident=incident,
        signature=wiring.build_signature(environment, actor),
        on_phase=lambda phase: click.echo(rollbacks.phase_line(phase)) if live else None,
    )
    if not report.known:
        raise Unreadable(f"neither the ledger of {environment} nor a flag knows {name!r}: nothing was done")
    click.echo(rollbacks.render(report, form), nl=False)
    return rollbacks.exit_status(report)
