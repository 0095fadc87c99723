"""`rollout evaluate gate`."""

from __future__ import annotations

from pathlib import Path

import click

from rollout.cli.evaluate.outputs import exit_status, read_evaluation, rendering, show
from rollout.cli.outputs import Output


@click.command()
@click.argument("report", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@rendering
def command(*, report: Path, form: str, outputs: tuple[Output, ...]) -> int:
    """Judge stored reports again, from what they measured.

    The verdicts are the same bytes as on the day of the evaluation; where they are not, somebody changed the file,
    which is said on standard error and ends with 1.
    """
    from rollout.core.evaluation import Evaluation
    from rollout.core.gate import is_tampered, judged_again

    stored = read_evaluation(report)
    again = Evaluation(reports=tuple(judged_again(each) for each in stored.reports))
    show(again, form, outputs)
    changed = [each.subject.suite for each in stored.reports if is_tampered(each)]
    for suite in changed:
        click.secho(f"{report}: what it concludes on {suite} is not what it measured", fg="red", err=True)
    return 1 if changed else exit_status(again)
