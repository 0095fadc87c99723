"""`rollout plan`."""

from __future__ import annotations

from pathlib import Path

import click

from rollout.cli.options import ADAPTER, output_options, site_options


@click.command()
@click.argument("name", type=ADAPTER)
@site_options
@output_options
@click.option(
    "--rate",
    type=click.FloatRange(0, min_open=True),
    help="Requests a second of the whole adapter.  [default: of the last day, by the traffic log]",
)
@click.option(
    "--releases-per-year",
    type=click.FloatRange(0, 1_000_000),
    default=50,
    show_default=True,
    help="Releases of all adapters that follow this plan.",
)
def command(
    name: str,
    environment: str,
    root: Path | None,
    actor: str | None,
    form: str,
    rate: float | None,
    releases_per_year: float,
) -> int:
    """Show what will happen to a manifest: each step, when, what it can detect, and what it costs in requests.

    Before a release it is told by the manifest and the policies that lie here, during one by those that it began with.
    Nothing is changed, and nobody is asked but the ledger and the traffic log.
    """
    from rollout import wiring
    from rollout.report import forecasts
    from rollout.usecases.forecast import forecast
    from rollout.wiring.past import past_traffic

    del actor  # Looking leaves no trace.
    place = wiring.find_root(root or Path.cwd())
    world = wiring.build_world(place, environment)
    found = forecast(
        world,
        wiring.working_folder(place),
        name,
        past=past_traffic(world.environment, place),
        rate=rate,
        releases_per_year=releases_per_year,
    )
    click.echo(forecasts.render(found, form), nl=False)
    return 0
