"""`rollout coverage`."""

from __future__ import annotations

from pathlib import Path

import click

from rollout.cli.options import ADAPTER, site_options


@click.command()
@click.argument("name", type=ADAPTER)
@site_options
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def command(name: str, environment: str, root: Path | None, actor: str | None, as_json: bool) -> int:
    """Show what each replica serves of an adapter: listed, from its digest's folder, with an effect.

    Asks every replica a few questions of the suite, and changes nothing. Ends with 1 if anything is not as it
    should be.
    """
    from rollout import wiring
    from rollout.report import sights
    from rollout.usecases.survey import survey

    del actor  # Looking leaves no trace.
    world = wiring.build_world(wiring.find_root(root or Path.cwd()), environment)
    found = survey(world, name)
    render = sights.as_json if as_json else sights.as_text
    click.echo(render(name, environment, found), nl=False)
    return 0 if found and not any(sight.complaint for sight in found) else 1
