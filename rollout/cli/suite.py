"""`rollout suite`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from rollout.cli.options import ADAPTER

if TYPE_CHECKING:
    from rollout.usecases.workspace import Workspace

_root = click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the repository.  [default: the one around the working folder]",
)
_format = click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True
)


@click.group()
def command() -> None:
    """Import, list and check golden suites."""


@command.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--name", required=True, type=ADAPTER, help="Name of the new suite.")
@click.option(
    "--match",
    type=click.Choice(["like", "contains", "equals", "starts-with"]),
    help="How expected answers are compared; like is ROUGE-L.  [default: contains for `ideal`, else like]",
)
@click.option("--gates", default="default", show_default=True, type=ADAPTER, help="Its gate file.")
@click.option("--max-tokens", default=256, show_default=True, type=click.IntRange(1, 32_768))
@_root
@click.option("--dry-run", is_flag=True, help="Only show what would be taken along.")
def import_(
    *, file: Path, name: str, match: str | None, gates: str, max_tokens: int, root: Path | None, dry_run: bool
) -> int:
    """Bring in a suite of another tool as policies/suites/NAME.yaml and NAME/golden.jsonl.

    FILE is promptfoo's YAML, or records in .jsonl or .json: OpenAI evals (input, ideal), Inspect (input, target),
    DeepEval (input, expected_output), Braintrust (input, expected), samples of lm-eval, chats (messages). Nothing in
    it is run or followed. What cannot be taken along is listed; nothing that exists is overwritten.
    """
    from rollout import wiring
    from rollout.core.suiteimport import Match
    from rollout.integrations.suiteformats import read_suite
    from rollout.report import suites as report
    from rollout.usecases.suites import place_suite, suite_files

    found = read_suite(file.read_bytes(), file.name, match=None if match is None else Match(match))
    files = suite_files(found, name, source=file.name, gates=gates, max_tokens=max_tokens)
    if not dry_run:
        place_suite(files, wiring.new_files(wiring.find_root(root or Path.cwd())))
    click.echo(report.import_as_text(found, list(files), name=name, dry_run=dry_run), nl=False)
    return 0


@command.command("list")
@_root
@_format
def list_(*, root: Path | None, form: str) -> int:
    """List the suites: items, gate file, digest. Exit status 3: one of them cannot be used."""
    from rollout.report import suites as report
    from rollout.usecases.suites import list_suites

    workspace = _workspace(root)
    found = list_suites(workspace.tree, workspace.documents)
    render = report.list_as_json if form == "json" else report.list_as_text
    click.echo(render(found), nl=False)
    return 3 if any(each.problem for each in found) else 0


@command.command()
@click.argument("name", type=ADAPTER)
@click.option(
    "--training-data",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Look for the items in this file: .jsonl, .json, .csv, .tsv or .txt.",
)
@click.option(
    "--manifest",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Look for the items in the data that this manifest was trained on.",
)
@_root
@_format
def check(
    *, name: str, training_data: Path | None, manifest: Path | None, root: Path | None, form: str
) -> int:
    """See whether suite NAME can prove anything: is it valid, large enough for its margins, and not trained on.

    With --manifest, the training data must have the digest of lineage.dataset; without --training-data, it is the
    file that lineage.dataset.name names below the repository, if that is one. Exit status 0: it can; 1: it cannot;
    3: something is unreadable; 6: the training data is not at hand.
    """
    from rollout import wiring
    from rollout.core.verdict import Outcome
    from rollout.report import suites as report
    from rollout.usecases.golden import load_golden
    from rollout.usecases.suites import check_suite

    workspace = _workspace(root)
    golden = load_golden(workspace.tree, workspace.documents, name)
    texts = wiring.training_texts(wiring.find_root(root or Path.cwd()), training_data, manifest)
    found = check_suite(golden, texts, asked=training_data is not None or manifest is not None)
    render = report.check_as_json if form == "json" else report.check_as_text
    click.echo(render(found), nl=False)
    return {Outcome.PASS: 0, Outcome.NO_DATA: 6, Outcome.INCONCLUSIVE: 6}.get(found.outcome, 1)


@command.command()
@click.option(
    "--format", "form", type=click.Choice(["text", "json", "markdown"]), default="text", show_default=True
)
def metrics(*, form: str) -> int:
    """List the metrics that gates may name."""
    from rollout.report.metrics import metrics_as_json, metrics_as_page, metrics_as_text

    render = {"text": metrics_as_text, "json": metrics_as_json, "markdown": metrics_as_page}[form]
    click.echo(render(), nl=False)
    return 0


def _workspace(root: Path | None) -> Workspace:
    from rollout import wiring

    return wiring.working_folder(wiring.find_root(root or Path.cwd()))
