"""`rollout flag watch`."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import click

from rollout.cli.options import ADAPTER, site_options


@click.command()
@click.argument("name", type=ADAPTER)
@site_options
@click.option("--once", is_flag=True, help="Look once. Ends with 4 if the flag could not be read.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option(
    "--every", default=2.0, show_default=True, type=click.FloatRange(0.2, 3600), help="Seconds between looks."
)
def command(
    name: str, environment: str, root: Path | None, actor: str | None, once: bool, as_json: bool, every: float
) -> int:
    """Show the share of an adapter's flag, live, and what each gateway has of it.

    A line whenever something has changed, until you press Ctrl-C. Nothing is changed.
    """
    from rollout import wiring
    from rollout.report import flags
    from rollout.usecases.flagsight import see_flag
    from rollout.wiring.flags import flag_store
    from rollout.wiring.worlds import gateway_clients

    del actor  # Looking leaves no trace.
    folder = wiring.find_root(root or Path.cwd())
    document = wiring.load_environment(environment, folder)
    key, store, gateways = document.flag_key(name), flag_store(document, folder), gateway_clients(document)
    render = flags.sight_as_json if as_json else flags.sight_as_text
    shown = None
    with suppress(KeyboardInterrupt):
        while True:
            sight = see_flag(store, gateways, key)
            if sight.news != shown:
                click.echo(render(sight, datetime.now(UTC)))
                shown = sight.news
            if once:
                return 0 if sight.state is not None else 4
            time.sleep(every)
    return 0
