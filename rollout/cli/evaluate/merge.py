"""`rollout evaluate merge`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rollout.cli.evaluate.outputs import exit_status, read_stored, rendering, show
from rollout.cli.outputs import Output

if TYPE_CHECKING:
    from rollout.core.evaluation import Evaluation, Shard
    from rollout.errors import Unreadable


@click.command()
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--environment", "-e", help="Whose ledger is told, with --record.")
@click.option("--base", metavar="REF", help="Take suites and gates from this commit, as the shards did.")
@click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the repository.  [default: the one around the working folder]",
)
@rendering
@click.option(
    "--record", is_flag=True, help="Keep the reports as evidence and tell the environment's ledger."
)
@click.option("--actor", help="Who acts, for the ledger.  [default: the workflow's actor, or this user]")
def command(
    *,
    files: tuple[Path, ...],
    environment: str | None,
    base: str | None,
    root: Path | None,
    form: str,
    outputs: tuple[Output, ...],
    record: bool,
    actor: str | None,
) -> int:
    """Merge the files of all shards into the report.

    Shards of several manifests make a report of each. The section of quality has the same bytes as that of one run.
    Exit statuses are those of the evaluation, the worst of all; 3 if a shard is missing, there twice, or of another
    evaluation.
    """
    from rollout import wiring
    from rollout.cli.evaluate.run import record_reports

    if record and environment is None:
        raise click.UsageError("--record needs --environment: a ledger belongs to one")
    evaluation, wrong = merged(files)
    if evaluation is not None:
        show(evaluation, form, outputs)
        if record and environment is not None:
            place = wiring.find_root(root or Path.cwd())
            record_reports(evaluation, place, environment, actor, policy_ref=base)
    if wrong is not None:
        raise wrong
    assert evaluation is not None
    return exit_status(evaluation)


def merged(files: Sequence[Path]) -> tuple[Evaluation | None, Unreadable | None]:
    """The evaluation of all shards that belong together, of one manifest or several, and what is wrong with others."""
    from rollout.core.evaluation import Evaluation
    from rollout.usecases.evaluate import merge

    reports, wrong = merge([_read(path) for path in files])
    return Evaluation(reports=reports) if reports else None, wrong


def _read(path: Path) -> Shard:
    from rollout.core.evaluation import Shard

    advice = "Name files that `rollout evaluate MANIFEST --shard I/N --output FILE` wrote."
    return read_stored(path, Shard, "shard of an evaluation", advice)
