"""`rollout evaluate show`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rollout.cli.evaluate.outputs import read_evaluation, rendering, show
from rollout.cli.outputs import Output
from rollout.errors import Unreadable

if TYPE_CHECKING:
    from rollout.core.evaluation import EvalReport, Evaluation


@click.command()
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@rendering
def command(*, files: tuple[Path, ...], form: str, outputs: tuple[Output, ...]) -> int:
    """Render stored reports as text, JSON, Markdown or HTML; those of several files as one evaluation.

    Nothing is judged: what is shown is what the file concludes. `rollout evaluate gate` judges it again.
    """
    show(united(files), form, outputs)
    return 0


def united(files: Sequence[Path]) -> Evaluation:
    """The reports of all files in their order, each once. Raises Unreadable where two differ on one adapter and suite."""
    from rollout.core.evaluation import Evaluation

    found: dict[tuple[str, str], tuple[EvalReport, Path]] = {}
    for file in files:
        for report in read_evaluation(file).reports:
            subject = report.subject
            about = f"{subject.candidate.name} {subject.candidate.version}", subject.suite
            first, place = found.setdefault(about, (report, file))
            if first.digest != report.digest:
                raise Unreadable(
                    f"{place} and {file} hold different reports of {about[0]} on {about[1]}",
                    advice="Name the file of one of both evaluations.",
                )
    return Evaluation(reports=tuple(report for report, _ in found.values()))
