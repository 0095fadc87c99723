"""How an evaluation leaves the command line: rendered, and as an exit status."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rollout.cli.outputs import Output, OutputType, write_reports

if TYPE_CHECKING:
    from rollout.core.evaluation import Evaluation
    from rollout.core.manifest import Document

D = TypeVar("D", bound="Document")
FORMATS = ("text", "json", "markdown", "html")


def rendering(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of a command that shows an evaluation: `form` and `outputs`."""
    command = click.option(
        "--output",
        "outputs",
        type=OutputType(FORMATS),
        multiple=True,
        help="Write the report to a file, in --format or in one of its own, and as often as you like: "
        "--output json=report.json --output html=report.html",
    )(command)
    return click.option(
        "--format",
        "form",
        type=click.Choice(FORMATS),
        default="text",
        show_default=True,
        help="On the screen.",
    )(command)


def show(evaluation: Evaluation, form: str, outputs: Sequence[Output], root: Path | None = None) -> None:
    """Print it, and write it to files; where a file has what the screen would show, the screen has the headlines."""
    from rollout.report.evaluation import headline, to_html, to_json, to_markdown, to_text
    from rollout.report.evaluation.plain import plain

    renderers = {"text": to_text, "json": to_json, "markdown": to_markdown, "html": to_html}

    def render(form: str, coloured: bool) -> str:
        text = renderers[form](evaluation)
        return text if coloured else click.unstyle(text)

    summary = "\n".join(plain(headline(report), 400) for report in evaluation.reports)
    write_reports(render, form, outputs, summary=summary, root=(root or Path.cwd()).resolve())


def exit_status(evaluation: Evaluation) -> int:
    """0 proven, 6 not settled, 1 anything else."""
    from rollout.core.verdict import Outcome

    return {Outcome.PASS: 0, Outcome.INCONCLUSIVE: 6}.get(evaluation.outcome, 1)


def read_evaluation(path: Path) -> Evaluation:
    """A stored evaluation. Raises Unreadable if it is none."""
    from rollout.core.evaluation import Evaluation

    advice = "Name a file that `rollout evaluate MANIFEST --output json=FILE` wrote."
    return read_stored(path, Evaluation, "stored evaluation", advice)


def read_stored(path: Path, model: type[D], what: str, advice: str) -> D:
    """A file that an evaluation left behind. Raises Unreadable, with the advice, if it is no such document."""
    from pydantic import ValidationError

    from rollout.errors import Unreadable

    try:
        return model.model_validate_json(path.read_bytes(), strict=True)
    except (OSError, ValidationError) as error:
        why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error.strerror
        raise Unreadable(f"{path} is no {what}: {why}", advice=advice) from None
