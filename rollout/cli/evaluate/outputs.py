"""How an evaluation leaves the command line: rendered, and as an exit status."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rollout.core.evaluation import Evaluation

FORMATS = ("text", "json", "markdown", "html")


def show(evaluation: Evaluation, form: str, output: Path | None) -> None:
    """Print it, or write it to a file and say in one line per suite what it says."""
    from rollout.durable import replace
    from rollout.report.evaluation import headline, to_html, to_json, to_markdown, to_text
    from rollout.report.evaluation.plain import plain

    render = {"text": to_text, "json": to_json, "markdown": to_markdown, "html": to_html}[form]
    text = render(evaluation)
    if output is None:
        click.echo(text, nl=False)
        return
    replace(output, click.unstyle(text).encode())
    for report in evaluation.reports:
        click.echo(plain(headline(report), 400), err=True)


def exit_status(evaluation: Evaluation) -> int:
    """0 proven, 6 not settled, 1 anything else."""
    from rollout.core.verdict import Outcome

    return {Outcome.PASS: 0, Outcome.INCONCLUSIVE: 6}.get(evaluation.outcome, 1)


def read_evaluation(path: Path) -> Evaluation:
    """A stored evaluation. Raises Unreadable if it is none."""
    from pydantic import ValidationError

    from rollout.core.evaluation import Evaluation
    from rollout.errors import Unreadable

    try:
        return Evaluation.model_validate_json(path.read_bytes(), strict=True)
    except (OSError, ValidationError) as error:
        why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error.strerror
        raise Unreadable(
            f"{path} is no stored evaluation: {why}",
            advice="Name a file that `rollout evaluate --format json --output FILE` wrote.",
        ) from None
