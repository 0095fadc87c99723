"""Drills as they are seen: a line each as it ends, or the whole at the end."""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import click

from rollout.drill import table
from rollout.drill.faults import Fault
from rollout.drill.run import run_all
from rollout.errors import RolloutError, Usage

_NEEDED = ("torch", "transformers", "peft")


def show(
    faults: Sequence[Fault], folder: Path | None, *, seed: int, form: str, live: bool, out: TextIO
) -> int:
    """Run them; the answer is the exit status, 1 if one failed."""
    if missing := [name for name in _NEEDED if importlib.util.find_spec(name) is None]:
        raise Usage(
            f"drills need {', '.join(missing)}",
            advice="Install the extra: pip install 'adapter-rollout[local]'.",
        )
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise Usage(f"{folder} is not empty")
    place = (folder or Path(tempfile.mkdtemp(prefix="rollout-drills-"))).resolve()
    began, drills = time.monotonic(), []
    if live:
        click.echo(
            "start: of the process, up to the flag. Phases and the last request to the bad version: seconds after that;\n"
            "✗: not done by the first run. verified: seconds after the start of the first process.\n",
            file=out,
        )
        click.echo(table.head(), file=out)

    def tell(fault: Fault) -> None:
        """What is being done, where somebody watches."""
        if not live:
            click.echo(f"{fault.name}: {fault.what}", err=True)
        elif out.isatty():
            click.echo(click.style(f"  {fault.name}: {fault.what} ...", dim=True), nl=False, file=out)

    try:
        for drill in run_all(faults, place, seed=seed, on_begin=tell):
            drills.append(drill)
            if live:
                click.echo(("\r\x1b[2K" if out.isatty() else "") + table.line(drill), file=out)
    except BaseException as error:
        if isinstance(error, RolloutError):
            error.advice = error.advice or f"Logs and state are kept in {place}."
        raise
    seconds = time.monotonic() - began
    failed = not drills or not all(drill.passed for drill in drills)
    match form:
        case "json":
            click.echo(table.as_json(drills, seconds), nl=False, file=out)
        case "markdown":
            click.echo(table.as_markdown(drills), nl=False, file=out)
        case _:
            click.echo("\n" + table.foot(drills, seconds), file=out)
    if failed:
        click.echo(f"logs and state are kept in {place}", err=True)
    elif folder is None:
        shutil.rmtree(place, ignore_errors=True)
    return int(failed)
