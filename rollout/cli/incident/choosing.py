"""Which incident is meant: options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from rollout.cli.options import LINE, Command
from rollout.errors import Usage

if TYPE_CHECKING:
    from rollout.usecases.incident import IncidentRecord


def choice_options(command: Command) -> Command:
    """Which one: `--number` or `--incident`."""
    for option in (
        click.option("--incident", "called", type=LINE, help="The one that others call so, like INC-1234."),
        click.option(
            "--number",
            type=click.IntRange(1),
            help="Which one of the adapter's, counted from 1.  [default: the last]",
        ),
    ):
        command = option(command)
    return command


def chosen(
    root: Path | None, environment: str, name: str, number: int | None, called: str | None
) -> tuple[Path, IncidentRecord]:
    """The folder of the repository, and the incident's record."""
    if number is not None and called is not None:
        raise Usage("--number and --incident each name one incident: give one of them")
    from rollout import wiring
    from rollout.usecases.incident import investigate
    from rollout.wiring.incidents import incident_sources

    folder = wiring.find_root(root or Path.cwd())
    return folder, investigate(incident_sources(folder, environment), name, number=number, called=called)
