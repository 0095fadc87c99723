"""`--metrics-file`: what `advance`, `watch` and `status` leave for node_exporter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rollout.errors import Usage

if TYPE_CHECKING:
    from rollout.ports import World
    from rollout.report.enginemetrics import Seen
    from rollout.usecases.overview import Sight
    from rollout.usecases.status import Status


def metrics_file_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Where the engine's own series go: `--metrics-file`."""
    return click.option(
        "--metrics-file",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Write the engine's own series there, for node_exporter's textfile collector (*.prom).",
    )(command)


def require_folder(file: Path | None) -> None:
    """To be asked before a tick. Raises Usage for a file whose folder is not there."""
    if file is not None and not file.parent.is_dir():
        raise Usage(f"{file} cannot be written: there is no folder {file.parent}")


def write_metrics(file: Path, world: World, names: Sequence[str], *, ticked_at: datetime | None) -> None:
    """What is known of the adapters now."""
    world = replace(world, ledger=world.ledger.still())
    seen = [one for name in names if (one := _seen(world, name)) is not None]
    write_seen(file, seen, ticked_at=ticked_at)


def write_seen(file: Path, seen: Sequence[Seen], *, ticked_at: datetime | None) -> None:
    """A file that cannot be written is told, and fails nothing that was done."""
    from rollout.report import enginemetrics

    try:
        enginemetrics.write(file, seen, ticked_at=ticked_at)
    except OSError as error:
        click.echo(f"{file} cannot be written: {error.strerror}", err=True)


def seen_of(found: Sequence[Sight]) -> list[Seen]:
    """What statuses know. Of what cannot be told there is nothing."""
    from rollout.usecases.overview import Untold

    return [_seen_by(each) for each in found if not isinstance(each, Untold)]


def _seen_by(status: Status) -> Seen:
    from rollout.report.enginemetrics import Seen

    return Seen(
        name=status.name,
        environment=status.environment,
        state=status.state,
        entries=status.entries,
        verdicts=status.analysis.verdicts,
        waits=status.waits,
        overdue=status.overdue,
    )


def _seen(world: World, name: str) -> Seen | None:
    """Of what is at rest the ledger says all; None where it cannot be read, which the tick has said."""
    from rollout.core.lifecycle import fold
    from rollout.report.enginemetrics import Seen
    from rollout.usecases.status import status

    try:
        entries = world.ledger.read(name)
        state = fold(entries)
        if state.phase.under_way:
            return _seen_by(status(world, name))
    except Exception:  # the bug of one adapter takes no other's series
        return None
    return Seen(name=name, environment=world.environment.name, state=state, entries=entries)
