"""`rollout evaluate review`: a blinded sample for human reviewers, and their scores back into the report."""

from __future__ import annotations

from pathlib import Path

import click

from rollout.cli.evaluate.outputs import exit_status, read_evaluation, rendering, show
from rollout.cli.outputs import Output

_REPORT = click.argument("report", type=click.Path(exists=True, dir_okay=False, path_type=Path))
_SUITE = click.option("--suite", metavar="NAME", help="Which suite, where the report has several.")
_SEED = click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), help="Of sample and order.  [default: the gate file's]"
)


@click.group()
def command() -> None:
    """Export a blinded sample for human reviewers, and import their scores."""


@command.command("export")
@_REPORT
@_SUITE
@_SEED
@click.option(
    "--cases", default=40, show_default=True, type=click.IntRange(2, 2000), help="How many at most."
)
@click.option("--reviewer", default="", help="Name of the reviewer, to be filled in already.")
@click.option("--format", "form", type=click.Choice(["csv", "jsonl"]), default="csv", show_default=True)
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The file to write."
)
def export_command(
    *, report: Path, suite: str | None, seed: int | None, cases: int, reviewer: str, form: str, output: Path
) -> int:
    """Write a sample of REPORT for a reviewer: half the worst cases, half drawn by chance from all.

    The reviewer compares answer A with answer B, writes A, B or tie, and may rate both from 1 to 5. Whose answer is
    A differs from case to case and is not in the file.
    """
    from rollout.core.reviewsheet import SheetForm
    from rollout.usecases.review import export_review

    sheet = export_review(
        read_evaluation(report), suite, cases=cases, seed=seed, form=SheetForm(form), reviewer=reviewer
    )
    try:
        with output.open("xb") as file:  # what a reviewer filled in is not written over
            file.write(sheet)
    except OSError as error:
        raise click.UsageError(f"{output} cannot be written: {error.strerror}") from None
    click.echo(f"wrote {output}: fill in preference, rating_a, rating_b and reviewer", err=True)
    return 0


@command.command("import")
@_REPORT
@click.argument(
    "sheets", type=click.Path(exists=True, dir_okay=False, path_type=Path), nargs=-1, required=True
)
@_SUITE
@_SEED
@rendering
def import_command(
    *,
    report: Path,
    sheets: tuple[Path, ...],
    suite: str | None,
    seed: int | None,
    form: str,
    outputs: tuple[Output, ...],
) -> int:
    """Judge REPORT again with what reviewers wrote into SHEETS, all of them at once.

    Human preference and rating become metrics of the cases; how far the reviewers agree stands in the report. Exit
    status as of the evaluation.
    """
    from rollout.usecases.review import import_reviews

    contents = {str(sheet): sheet.read_bytes() for sheet in sheets}
    reviewed = import_reviews(read_evaluation(report), suite, contents, seed=seed)
    show(reviewed, form, outputs)
    return exit_status(reviewed)
