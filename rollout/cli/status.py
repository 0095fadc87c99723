"""`rollout status`."""

from __future__ import annotations

import shutil
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rollout.cli.metricsfile import metrics_file_option, require_folder, seen_of, write_seen
from rollout.cli.options import ADAPTER, output_options, site_options
from rollout.errors import RolloutError, Usage

if TYPE_CHECKING:
    from rollout.ports import World
    from rollout.usecases.overview import Sight


@click.command()
@click.argument("names", nargs=-1, type=ADAPTER)
@site_options
@output_options
@click.option("--json", "as_json", is_flag=True, help="For machines: `--format json`.")
@click.option("--watch", is_flag=True, help="Look again and again, until you press Ctrl-C.")
@click.option(
    "--interval",
    default=2.0,
    show_default=True,
    type=click.FloatRange(0.2, 3600),
    help="Seconds between looks.",
)
@click.option(
    "--events", default=8, show_default=True, type=click.IntRange(0), help="How many of the last events."
)
@metrics_file_option
def command(
    names: tuple[str, ...],
    environment: str,
    root: Path | None,
    actor: str | None,
    form: str,
    as_json: bool,
    watch: bool,
    interval: float,
    events: int,
    metrics_file: Path | None,
) -> int:
    """Show what is live, the step, the evidence and the last events.

    Without NAMES, all adapters that the environment's ledger knows. Nothing is changed. With --watch, a terminal shows
    one screen that is always fresh; elsewhere a block is added whenever something but the time has changed.

    An adapter that cannot be told, for its ledger is broken or not known, hides no other: it is named with what is
    wrong and what to do, and the exit status is that of its error.
    """
    from rollout import wiring
    from rollout.report import statuses
    from rollout.usecases.overview import overview

    del actor  # Looking leaves no trace.
    world = wiring.build_world(wiring.find_root(root or Path.cwd()), environment)
    form = "json" if as_json else form
    require_folder(metrics_file)
    if watch and metrics_file is not None:
        raise Usage("--metrics-file is written once: leave out --watch")
    if watch:
        return _watch(world, names, interval, events, form)
    found = overview(world, names)
    click.echo(statuses.render(found, world.clock.now(), events, form), nl=False)
    if metrics_file is not None:
        write_seen(metrics_file, seen_of(found), ticked_at=None)
    return statuses.exit_status(found)


def _watch(world: World, names: tuple[str, ...], interval: float, events: int, form: str) -> int:
    """Until Ctrl-C; the answer is the exit status of the last look.

    What cannot be read from the beginning is an error, and later only for a while.
    """
    from rollout.report import liveview, statuses
    from rollout.usecases.overview import overview

    live = sys.stdout.isatty() and form == "text"
    shown: object = None
    status = 0
    with suppress(KeyboardInterrupt):
        while True:
            try:
                found = overview(world, names)
            except RolloutError as error:
                if shown is None:
                    raise
                news: object = error.message
                status = error.exit_status
                told = click.style(f"cannot look: {error.message}", fg="red") + "\n"
            else:
                news = [liveview.news(each) for each in found]
                status = statuses.exit_status(found)
                told = (
                    _screen(found, events)
                    if live
                    else statuses.render(found, world.clock.now(), events, form)
                )
            if live:
                click.echo(liveview.in_place(told), nl=False)
            elif news != shown:
                click.echo(told, nl=False)
            shown = news
            time.sleep(interval)
    return status


def _screen(found: list[Sight], events: int) -> str:
    """As much of all of them as the terminal can show."""
    from rollout.report import liveview

    columns, rows = shutil.get_terminal_size()
    each = max(1, (rows - 1) // max(1, len(found)))
    return "\n".join(
        line for one in found for line in liveview.screen(one, width=columns, height=each, events=events)
    )
