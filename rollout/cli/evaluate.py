"""`rollout evaluate`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rollout.core.evaluation import EvalReport
    from rollout.core.manifest import AdapterManifest

NO_CHAMPION = "none"


@click.command()
@click.argument("manifest", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--champion", metavar="MANIFEST", help=f"Compare with this manifest; '{NO_CHAMPION}' for a first release."
)
@click.option(
    "--base", metavar="REF", help="Take suite and gates from this commit, and the manifest there as champion."
)
@click.option(
    "--environment", "-e", help="Compare with what is stable here, on the base model of its servers."
)
@click.option(
    "--base-model",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the base model.  [default: that of the environment]",
)
@click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the repository.  [default: the one around the working folder]",
)
@click.option(
    "--format", "form", type=click.Choice(["text", "json", "markdown"]), default="text", show_default=True
)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write the report to a file.")
@click.option("--record", is_flag=True, help="Keep the report as evidence and tell the environment's ledger.")
@click.option("--actor", help="Who acts, for the ledger.  [default: the workflow's actor, or this user]")
@click.option("--batch-size", default=32, show_default=True, type=click.IntRange(1, 1024))
@click.option("--threads", type=click.IntRange(1), help="CPU threads of one operation.")
def command(
    *,
    manifest: Path,
    champion: str | None,
    base: str | None,
    environment: str | None,
    base_model: Path | None,
    root: Path | None,
    form: str,
    output: Path | None,
    record: bool,
    actor: str | None,
    batch_size: int,
    threads: int | None,
) -> int:
    """Prove a manifest's adapter on its golden suite, against champion and base.

    The champion is what --champion names, else what is stable in the --environment, else the manifest at the
    --base commit. Nothing is loaded before its bytes are verified. Exit status 0: proven; 1: blocked; 3:
    something is unreadable; 6: not settled, more items are needed.
    """
    from rollout import __version__, wiring
    from rollout.cli.progress import shown_progress
    from rollout.integrations.clock import SystemClock
    from rollout.usecases.evaluate import evaluate
    from rollout.usecases.golden import load_golden
    from rollout.usecases.measure import Contest

    if record and environment is None:
        raise click.UsageError("--record needs --environment: a ledger belongs to one")
    place = wiring.find_root(root or Path.cwd())
    head = wiring.working_folder(place)
    path = wiring.path_below(place, manifest)
    candidate = head.manifest(path).value
    policies = head if base is None else wiring.tree_at(place, base)
    contest = Contest(
        candidate=candidate,
        champion=_champion(place, manifest, candidate, champion, base, environment),
        golden=load_golden(policies.tree, policies.documents, candidate.evaluation.suite),
        command=_again(place, path.as_posix(), champion, base, environment, base_model),
    )
    model = base_model or _base_folder(place, environment)
    with wiring.passing_shelf(place, policies) as shelf, shown_progress() as progress:
        report = evaluate(
            contest,
            open_engine=lambda: wiring.build_engine(
                model, candidate.base, batch_size=batch_size, threads=threads
            ),
            shelf=shelf,
            clock=SystemClock(),
            tool=__version__,
            progress=progress,
        )
    _show(report, form, output)
    if record and environment is not None:
        _record(report, place, environment, actor)
    return _exit_status(report)


def _champion(
    root: Path,
    manifest: Path,
    candidate: AdapterManifest,
    champion: str | None,
    base: str | None,
    environment: str | None,
) -> AdapterManifest | None:
    """Who must be beaten. That there is nobody is said, never assumed."""
    from rollout import wiring

    if champion == NO_CHAMPION:
        return None
    if champion is not None:
        return wiring.working_folder(root).manifest(wiring.path_below(root, Path(champion))).value
    if environment is not None:
        return wiring.champion_of(root, environment, candidate.name)
    if base is not None:
        before, path = wiring.tree_at(root, base), wiring.path_below(root, manifest)
        return before.manifest(path).value if before.tree.exists(path) else None
    raise click.UsageError(
        f"name the champion: --champion MANIFEST, --environment NAME or --base REF; --champion {NO_CHAMPION} "
        "compares with the base model, for a first release"
    )


def _base_folder(root: Path, environment: str | None) -> Path:
    from rollout import wiring

    found = wiring.load_environment(environment, root).server.base_path if environment is not None else None
    if found is None:
        raise click.UsageError(
            "name the base model's folder: --base-model, or server.base_path of an environment"
        )
    return root / found


def _show(report: EvalReport, form: str, output: Path | None) -> None:
    from rollout.report.evaluation import headline, to_json
    from rollout.report.evaluation_markdown import to_markdown
    from rollout.report.evaluation_text import plain, to_text

    text = {"text": to_text, "json": to_json, "markdown": to_markdown}[form](report)
    if output is None:
        click.echo(text, nl=False)
        return
    output.write_text(click.unstyle(text), encoding="utf-8")
    click.echo(plain(headline(report), 400), err=True)


def _record(report: EvalReport, root: Path, environment: str, actor: str | None) -> None:
    from rollout import wiring
    from rollout.usecases.evaluate import record_evaluation

    world = wiring.build_world(root, environment)
    event = record_evaluation(
        report,
        ledger=world.ledger,
        evidence=world.evidence,
        clock=world.clock,
        signature=wiring.build_signature(environment, actor),
    )
    click.echo(f"recorded for {event.served_name} in {environment}: report {event.report[:12]}", err=True)


def _exit_status(report: EvalReport) -> int:
    from rollout.core.verdict import Outcome

    return {Outcome.PASS: 0, Outcome.INCONCLUSIVE: 6}.get(report.outcome, 1)


def _again(
    root: Path,
    manifest: str,
    champion: str | None,
    base: str | None,
    environment: str | None,
    base_model: Path | None,
) -> str:
    """The command line that decides the result, with paths as they are seen from the repository."""
    named = champion if champion in (None, NO_CHAMPION) else _seen_from(root, Path(str(champion)))
    model = None if base_model is None else _seen_from(root, base_model)
    options = {"champion": named, "base": base, "environment": environment, "base-model": model}
    words = [word for name, value in options.items() if value is not None for word in (f"--{name}", value)]
    return shlex.join(["rollout", "evaluate", manifest, *words])


def _seen_from(root: Path, path: Path) -> str:
    absolute = path.resolve()
    return absolute.relative_to(root).as_posix() if absolute.is_relative_to(root) else path.name
