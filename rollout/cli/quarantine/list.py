"""`rollout quarantine list`."""

from __future__ import annotations

from pathlib import Path

import click

from rollout.cli.options import ADAPTER, output_options, site_options


@click.command()
@click.argument("name", type=ADAPTER)
@site_options
@output_options
def command(name: str, environment: str, root: Path | None, actor: str | None, form: str) -> int:
    """List what was taken back and may not begin, the latest first.

    With who took it back, when and why, and who has asked for it since. Nothing is changed.
    """
    from rollout import wiring
    from rollout.core.lifecycle import fold
    from rollout.report import quarantines
    from rollout.usecases.quarantine import quarantined

    del actor  # Looking leaves no trace.
    world = wiring.build_world(wiring.find_root(root or Path.cwd()), environment)
    found = quarantined(fold(world.ledger.read(name)))
    click.echo(quarantines.render(name, environment, found, form), nl=False)
    return 0
