"""`rollout adopt`."""

from __future__ import annotations

from pathlib import Path

import click

from rollout.cli.options import ADAPTER, site_options


@click.command()
@click.argument("name", type=ADAPTER)
@site_options
def command(name: str, environment: str, root: Path | None, actor: str | None) -> int:
    """Record what serves today as stable.

    The version that git names is loaded on every replica, shown to have an effect, and becomes the stable one
    of the environment. Doing it twice changes nothing.
    """
    from rollout import wiring
    from rollout.usecases.adopt import adopt

    place = wiring.find_root(root or Path.cwd())
    adoption = adopt(
        wiring.build_world(place, environment), name, signature=wiring.build_signature(environment, actor)
    )
    said = "is stable now" if adoption.changed else "was stable already"
    click.echo(f"{adoption.stable.served_name} {said} in {environment}")
    return 0
