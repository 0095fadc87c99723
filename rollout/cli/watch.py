"""`rollout watch`."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from rollout.cli.options import ADAPTER, site_options
from rollout.errors import RolloutError

if TYPE_CHECKING:
    from rollout.usecases.book import Signature


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
def command(
    names: tuple[str, ...],
    environment: str,
    root: Path | None,
    actor: str | None,
    every: float,
    verbose: bool,
) -> int:
    """Tick in a loop: what `rollout advance` does, for a laptop, a systemd unit or a container.

    All adapters of the environment, or those NAMES. Nothing is remembered between ticks, so that it may be killed and
    started anywhere, and run beside others. What cannot be done is told and tried again. Ends with Ctrl-C or SIGTERM,
    behind the tick that runs.
    """
    from rollout import wiring

    place = wiring.find_root(root or Path.cwd())
    signature = wiring.build_signature(environment, actor)
    told: dict[str, str] = {}
    with _ending() as end:
        while not end.is_set():
            try:
                for name, line in _ticks(place, environment, names, signature):
                    if verbose or told.get(name) != line:
                        click.echo(line, nl=False)
                    told[name] = line
                    if end.is_set():
                        break
            except RolloutError as error:
                click.echo(f"no tick: {error.message}. {error.advice}".rstrip(), err=True)
            end.wait(every)
    return 0


def _ticks(
    place: Path, environment: str, names: tuple[str, ...], signature: Signature
) -> Iterator[tuple[str, str]]:
    """One tick of each adapter: its name, and what there is to say. Policies and places are read anew each time."""
    from rollout import wiring
    from rollout.report import fleets
    from rollout.usecases.fleet import advance_all, muster

    world = wiring.build_world(place, environment)
    gatekeeper = wiring.build_gatekeeper(place, environment, None)
    fleet = muster(world).only(names)
    for ended in advance_all(fleet, signature=signature, gatekeeper=gatekeeper):
        yield ended.name, fleets.as_line(ended)


@contextmanager
def _ending() -> Iterator[threading.Event]:
    """Set by Ctrl-C and SIGTERM: a tick is never torn, though it could be."""
    end = threading.Event()

    def ask(_number: int, _frame: FrameType | None) -> None:
        end.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield end
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
