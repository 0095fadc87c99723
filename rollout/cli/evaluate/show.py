"""`rollout evaluate show`."""

from __future__ import annotations

from pathlib import Path

import click

from rollout.cli.evaluate.outputs import read_evaluation, rendering, show
from rollout.cli.outputs import Output


@click.command()
@click.argument("report", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@rendering
def command(*, report: Path, form: str, outputs: tuple[Output, ...]) -> int:
    """Render stored reports as text, JSON, Markdown or HTML.

    Nothing is judged: what is shown is what the file concludes. `rollout evaluate gate` judges it again.
    """
    show(read_evaluation(report), form, outputs)
    return 0
