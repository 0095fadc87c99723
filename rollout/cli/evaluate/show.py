"""`rollout evaluate show`."""

from __future__ import annotations

from pathlib import Path

import click

from rollout.cli.evaluate.outputs import FORMATS, read_evaluation, show


@click.command()
@click.argument("report", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--format", "form", type=click.Choice(FORMATS), default="text", show_default=True)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write the report to a file.")
def command(*, report: Path, form: str, output: Path | None) -> int:
    """Render stored reports as text, JSON, Markdown or HTML.

    Nothing is judged: what is shown is what the file concludes. `rollout evaluate gate` judges it again.
    """
    show(read_evaluation(report), form, output)
    return 0
