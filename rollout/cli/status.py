"""`rollout status`."""

from __future__ import annotations

from pathlib import Path

import click

from rollout.cli.options import ADAPTER, output_options, site_options


@click.command()
@click.argument("names", nargs=-1, type=ADAPTER)
@site_options
@output_options
@click.option("--json", "as_json", is_flag=True, help="For machines: `--format json`.")
@click.option(
    "--events", default=8, show_default=True, type=click.IntRange(0), help="How many of the last events."
)
def command(
    names: tuple[str, ...],
    environment: str,
    root: Path | None,
    actor: str | None,
    form: str,
    as_json: bool,
    events: int,
) -> int:
    """Show what is live, the step, the evidence and the last events.

    Without NAMES, all adapters that the environment's ledger knows. Nothing is changed.
    """
    from rollout import wiring
    from rollout.report import statuses
    from rollout.usecases.status import status

    del actor  # Looking leaves no trace.
    world = wiring.build_world(wiring.find_root(root or Path.cwd()), environment)
    found = [status(world, name) for name in names or world.ledger.names()]
    click.echo(statuses.render(found, world.clock.now(), events, "json" if as_json else form), nl=False)
    return 0
