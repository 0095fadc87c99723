"""`rollout watch`."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from rollout.cli.advance import keep_evidence
from rollout.cli.metricsfile import metrics_file_option, require_folder, write_metrics
from rollout.cli.options import ADAPTER, site_options

if TYPE_CHECKING:
    from rollout.usecases.book import Signature
    from rollout.usecases.fleet import Ended


@click.command()
@click.argument("names", type=ADAPTER, nargs=-1)
@site_options
@click.option(
    "--every",
    default=60.0,
    show_default=True,
    type=click.FloatRange(0.2, 86_400),
    help="Seconds between ticks.",
)
@click.option("--verbose", is_flag=True, help="A line for every tick, not only where something is new.")
@metrics_file_option
def command(
    names: tuple[str, ...],
    environment: str,
    root: Path | None,
    actor: str | None,
    every: float,
    verbose: bool,
    metrics_file: Path | None,
) -> int:
    """Tick in a loop: what `rollout advance` does, for a laptop, a systemd unit or a container.

    All adapters of the environment, or those NAMES. Nothing is remembered between ticks, so that it may be killed and
    started anywhere, and run beside others. What cannot be done is told and tried again. Ctrl-C or SIGTERM ends it
    behind the tick that runs, with 0; a second one at once.
    """
    from rollout import wiring
    from rollout.report import fleets

    require_folder(metrics_file)
    place = wiring.find_root(root or Path.cwd())
    signature = wiring.build_signature(environment, actor)
    told: dict[str, object] = {}
    with _asked_to_end() as end:
        while not end.asked:
            for ended in _ticks(place, environment, names, signature, metrics_file):
                news = fleets.news(ended)
                if verbose or told.get(ended.name) != news:
                    click.echo(fleets.as_line(ended), nl=False)
                told[ended.name] = news
                if end.asked:
                    break
            end.wait(every)
    return 0


def _ticks(
    place: Path,
    environment: str,
    names: tuple[str, ...],
    signature: Signature,
    metrics_file: Path | None,
) -> Iterator[Ended]:
    """One tick of each adapter. Policies and places are read anew each time; where that fails, nothing ticks."""
    from rollout import wiring
    from rollout.usecases.fleet import advance_all, muster
    from rollout.usecases.mishaps import as_error

    try:
        world = wiring.build_world(place, environment)
        gatekeeper = wiring.build_gatekeeper(place, environment, None)
        fleet = muster(world).only(names)
    except Exception as failure:  # to be tried again
        error = as_error(failure, alone=f"rollout advance --all -e {environment}")
        click.echo(f"no tick: {error.message}. {error.advice}".rstrip(), err=True)
        return
    yield from advance_all(fleet, signature=signature, gatekeeper=gatekeeper)
    keep_evidence(world)
    if metrics_file is not None:
        write_metrics(metrics_file, world, fleet.names, ticked_at=world.clock.now())


class _End:
    """Whether somebody asked for the end, and a sleep that ends when somebody does."""

    def __init__(self) -> None:
        self.asked = False
        self._hears, self._tells = os.pipe()

    def ask(self, _number: int, _frame: FrameType | None) -> None:
        """Let the running tick come to its end, which tears nothing; whoever asks twice does not wait for it."""
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        os.write(self._tells, b"!")

    def wait(self, seconds: float) -> None:
        """Until then, or until the end. No lock is taken, which a signal could find taken."""
        select.select([self._hears], [], [], seconds)

    def close(self) -> None:
        """Nobody asks any more."""
        os.close(self._hears)
        os.close(self._tells)


@contextmanager
def _asked_to_end() -> Iterator[_End]:
    """Heard of by Ctrl-C and SIGTERM."""
    end = _End()
    before = {number: signal.signal(number, end.ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield end
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        end.close()
