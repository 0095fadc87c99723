"""Options that several verbs share, so that one thing has one name everywhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Command = Callable[..., Any]


def site_options(command: Command) -> Command:
    """Where: `--environment`, `--root`; and who: `--actor`."""
    for option in (
        click.option(
            "--actor", help="Who acts, for the ledger.  [default: the workflow's actor, or this user]"
        ),
        click.option(
            "--root",
            type=click.Path(exists=True, file_okay=False, path_type=Path),
            help="Folder of the repository.  [default: the one around the working folder]",
        ),
        click.option("--environment", "-e", required=True, help="Name of the environment document."),
    ):
        command = option(command)
    return command


def output_options(command: Command) -> Command:
    """How the report looks: `--format`."""
    return click.option(
        "--format", "form", type=click.Choice(["text", "json", "markdown"]), default="text", show_default=True
    )(command)
