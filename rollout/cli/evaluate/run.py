"""`rollout evaluate run`."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rollout.cli.evaluate.outputs import exit_status, rendering, show

if TYPE_CHECKING:
    from rollout.cli.outputs import Output
    from rollout.core.evaluation import Evaluation, Partial
    from rollout.core.manifest import AdapterManifest
    from rollout.core.planning import ShardNumber
    from rollout.core.suite import Golden
    from rollout.core.verdict import Verdict
    from rollout.wiring import EngineChoice

NO_CHAMPION = "none"
_BATCH_SIZES = {"transformers": 32, "vllm": 256, "http": 8}
_KINDS = tuple(_BATCH_SIZES)
_OVER_RAY = "ray"
_SHARDS = 2


@click.command()
@click.argument("manifest", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--champion", metavar="MANIFEST", help=f"Compare with this manifest; '{NO_CHAMPION}' for a first release."
)
@click.option(
    "--base",
    metavar="REF",
    help="Take suites and gates from this commit, and the manifest there as champion.",
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
    "--engine",
    default="transformers",
    show_default=True,
    metavar="KIND",
    help="transformers (this process), vllm (offline batch), http (a server; see --url), or ray:KIND, which "
    "spreads shards over a Ray cluster.",
)
@click.option("--url", help="Server of --engine http: the part before /v1.")
@click.option("--served-base", help="Name of the base model on that server.  [default: the one it lists]")
@click.option("--load-adapters", is_flag=True, help="Let --engine http load what the server does not list.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, or auto.")
@click.option(
    "--batch-size",
    type=click.IntRange(1, 1024),
    help="Answers under way at once.  [default: 32; vllm 256; http 8]",
)
@click.option("--threads", type=click.IntRange(1), help="CPU threads of one operation.")
@click.option(
    "--shard", metavar="I/N", help="Do one part of the work; --output takes it, `merge` unites the parts."
)
@click.option("--shards", type=click.IntRange(1, 1000), help="Parts for --engine ray.  [default: 2]")
@click.option("--ray-address", help="Ray cluster.  [default: one on this machine]")
@click.option(
    "--max-cases",
    type=click.IntRange(1),
    help="Ask a sample of each suite: it can fail an adapter, and never passes one.",
)
@click.option(
    "--training-data",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What the adapter was trained on, to look for items of the suites in it.  [default: the manifest's dataset, "
    "where it lies in the repository]",
)
@click.option(
    "--budget-seconds", type=click.FloatRange(min=0, min_open=True), help="Ask nothing more after this time."
)
@click.option(
    "--cache/--no-cache", default=True, help="Reuse answers of before: same bytes, engine and settings."
)
@click.option(
    "--reference/--no-reference",
    default=True,
    help="Compare the engine with PEFT in full precision, which must fit into memory.",
)
@rendering
@click.option(
    "--record", is_flag=True, help="Keep the reports as evidence and tell the environment's ledger."
)
@click.option("--actor", help="Who acts, for the ledger.  [default: the workflow's actor, or this user]")
def command(
    *,
    manifest: Path,
    champion: str | None,
    base: str | None,
    environment: str | None,
    base_model: Path | None,
    root: Path | None,
    engine: str,
    url: str | None,
    served_base: str | None,
    load_adapters: bool,
    device: str,
    batch_size: int | None,
    threads: int | None,
    shard: str | None,
    shards: int | None,
    ray_address: str | None,
    max_cases: int | None,
    training_data: Path | None,
    budget_seconds: float | None,
    cache: bool,
    reference: bool,
    form: str,
    outputs: tuple[Output, ...],
    record: bool,
    actor: str | None,
) -> int:
    """Prove a manifest's adapter on its suites, against champion and base.

    The champion is what --champion names, else what is stable in the --environment, else the manifest at the
    --base commit. The suites are the manifest's and those that policies/evaluation.yaml requires. Nothing is
    loaded before its bytes are verified and inspected. Exit status 0: proven; 1: blocked; 3: something is
    unreadable; 6: not settled, more items are needed.
    """
    from rollout import wiring
    from rollout.core.evaluation import Evaluation
    from rollout.core.merging import conclude
    from rollout.core.planning import WHOLE, ShardNumber

    _check(record, environment, shard, shards, engine, url, outputs)
    place = wiring.find_root(root or Path.cwd())
    path = wiring.path_below(place, manifest)
    kind, over_ray = _kind(engine)
    again = {
        "champion": champion if champion in (None, NO_CHAMPION) else _seen_from(place, Path(str(champion))),
        "base": base,
        "environment": environment,
        "base-model": None if base_model is None else _seen_from(place, base_model),
        "engine": None if kind == _KINDS[0] else kind,
        "url": url,
        "served-base": served_base,
        "device": None if device == "auto" else device,
        "max-cases": None if max_cases is None else str(max_cases),
        "training-data": None if training_data is None else _seen_from(place, training_data),
    }
    flags = {
        "load-adapters": load_adapters,
        "no-reference": not reference,
    }
    words = ["evaluate", path.as_posix(), *_words(again, flags)]
    if over_ray:
        settings = {"batch-size": batch_size, "threads": threads}
        more = _words(
            {name: None if value is None else str(value) for name, value in settings.items()},
            {"no-cache": not cache},
        )
        cut = [*more, *([] if budget_seconds is None else ["--budget-seconds", str(budget_seconds)])]
        evaluation = _over_ray(place, [*words, *cut], shards or _SHARDS, ray_address)
    else:
        number = WHOLE if shard is None else ShardNumber.parse(shard)
        candidate = wiring.working_folder(place).manifest(path).value
        partials = _measure(
            place,
            candidate,
            champion=_champion(place, manifest, candidate, champion, base, environment),
            policy_ref=base,
            choice=wiring.EngineChoice(
                kind=wiring.EngineKind(kind),
                base=candidate.base,
                base_folder=_base_folder(place, environment, base_model, optional=kind == "http"),
                batch_size=batch_size or _BATCH_SIZES[kind],
                threads=threads,
                device=device,
                url=url,
                served_base=served_base,
                load_adapters=load_adapters,
            ),
            words=words,
            manifest=manifest,
            training_data=training_data,
            shard=number,
            max_cases=max_cases,
            budget_seconds=budget_seconds,
            cached=cache,
            referenced=reference,
        )
        if shard is not None:
            return _write_shard(partials, outputs[0].file)
        evaluation = Evaluation(reports=tuple(conclude([partial]) for partial in partials))
    show(evaluation, form, outputs, place)
    if record and environment is not None:
        record_reports(evaluation, place, environment, actor, policy_ref=base)
    return exit_status(evaluation)


def record_reports(
    evaluation: Evaluation, root: Path, environment: str, actor: str | None, *, policy_ref: str | None
) -> None:
    """Keep every report as evidence and tell the ledger of it.

    Raises Unreadable for one that passes and does not speak of the suite as the policy has it.
    """
    from rollout import wiring
    from rollout.usecases.audit import require_sound
    from rollout.usecases.evaluate import record_evaluation
    from rollout.usecases.golden import load_golden

    world = wiring.build_world(root, environment)
    policies = wiring.working_folder(root) if policy_ref is None else wiring.tree_at(root, policy_ref)
    for report in evaluation.reports:
        require_sound(report, lambda name: load_golden(policies.tree, policies.documents, name))
    for report in evaluation.reports:
        event = record_evaluation(
            report,
            ledger=world.ledger,
            evidence=world.evidence,
            clock=world.clock,
            signature=wiring.build_signature(environment, actor),
        )
        click.echo(f"recorded for {event.served_name} in {environment}: report {event.report[:12]}", err=True)


def _check(
    record: bool,
    environment: str | None,
    shard: str | None,
    shards: int | None,
    engine: str,
    url: str | None,
    outputs: tuple[Output, ...],
) -> None:
    """What does not fit together is said before anything is read."""
    kind, over_ray = _kind(engine)
    if record and environment is None:
        raise click.UsageError("--record needs --environment: a ledger belongs to one")
    if shard is not None and (record or over_ray or [output.form for output in outputs] != [None]):
        raise click.UsageError(
            "--shard writes one part to --output FILE; `rollout evaluate merge` makes and records the report"
        )
    if shards is not None and not over_ray:
        raise click.UsageError("--shards belongs to --engine ray")
    if (kind == "http") != (url is not None):
        raise click.UsageError("--engine http and --url go together")


def _kind(engine: str) -> tuple[str, bool]:
    """The engine that answers, and whether it is spread over Ray."""
    head, _, inner = engine.partition(":")
    kind = (inner or _KINDS[0]) if head == _OVER_RAY else engine
    if kind not in _KINDS:
        known = ", ".join((*_KINDS, _OVER_RAY, *(f"{_OVER_RAY}:{kind}" for kind in _KINDS[1:])))
        raise click.UsageError(f"there is no engine {engine!r}; there are {known}")
    return kind, head == _OVER_RAY


def _measure(
    root: Path,
    candidate: AdapterManifest,
    *,
    champion: AdapterManifest | None,
    policy_ref: str | None,
    choice: EngineChoice,
    words: list[str],
    manifest: Path,
    training_data: Path | None,
    shard: ShardNumber,
    max_cases: int | None,
    budget_seconds: float | None,
    cached: bool,
    referenced: bool,
) -> tuple[Partial, ...]:
    from rollout import __version__, wiring
    from rollout.cli.progress import shown_progress
    from rollout.core.leak import NOTHING_COMPARED
    from rollout.integrations.clock import SystemClock
    from rollout.usecases.contest import Contest, Scope, never
    from rollout.usecases.evaluate import evaluate
    from rollout.usecases.required import load_goldens

    policies = wiring.working_folder(root) if policy_ref is None else wiring.tree_at(root, policy_ref)
    goldens = load_goldens(policies, candidate)
    again = shlex.join(["rollout", *words])
    contests = [
        Contest(
            candidate=candidate,
            champion=champion,
            golden=golden,
            command=again,
            leak=_leak(root, golden, training_data, manifest) if shard.is_first else NOTHING_COMPARED,
        )
        for golden in goldens
    ]
    scope = Scope(
        shard=shard,
        max_cases=max_cases,
        out_of_time=never if budget_seconds is None else _stopwatch(budget_seconds),
    )
    with wiring.passing_shelf(root, policies) as shelf, shown_progress() as progress:
        return evaluate(
            contests,
            wiring.build_means(
                root, goldens, choice, cached=cached, referenced=referenced, progress=progress
            ),
            shelf=shelf,
            inspect=wiring.adapter_inspector(choice.base_folder),
            clock=SystemClock(),
            tool=__version__,
            scope=scope,
            base=choice.base_folder,
            progress=progress,
        )


def _leak(root: Path, golden: Golden, training_data: Path | None, manifest: Path) -> Verdict:
    """Whether items stand in the training data, as far as that is at hand."""
    from rollout import wiring
    from rollout.core.leak import NOTHING_COMPARED, find_leaks

    texts = wiring.training_texts(root, training_data, manifest)
    return NOTHING_COMPARED if texts is None else find_leaks(golden.items, texts).verdict


def _stopwatch(seconds: float) -> Callable[[], bool]:
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end


def _write_shard(partials: tuple[Partial, ...], output: Path) -> int:
    from rollout.core.evaluation import Shard
    from rollout.errors import Usage

    aside = output.with_name(f".{output.name}.writing")
    try:
        aside.write_text(Shard(partials=partials).model_dump_json(by_alias=True) + "\n", encoding="utf-8")
        aside.replace(output)
    except OSError as error:
        raise Usage(f"{output} cannot be written: {error.strerror}") from None
    asked = sum(len(partial.measured.cases) for partial in partials)
    click.echo(
        f"shard {partials[0].shard}: {asked} cases in {output}; unite with `rollout evaluate merge`", err=True
    )
    return 0


def _over_ray(root: Path, words: list[str], shards: int, address: str | None) -> Evaluation:
    """Every shard is this very command with --shard, on a worker of the cluster."""
    from tempfile import TemporaryDirectory

    from rollout.cli.evaluate.merge import merged
    from rollout.cli.progress import shown_progress
    from rollout.errors import Unreadable
    from rollout.integrations.rayshards import run_shards

    # -P: what a repository calls `rollout` is not the program.
    argv = [sys.executable, "-P", "-m", "rollout", *words, "--root", str(root)]
    with TemporaryDirectory(prefix="rollout-shards-") as folder, shown_progress() as progress:
        files = run_shards(argv, shards, address=address, folder=Path(folder), progress=progress, cwd=root)
        evaluation, wrong = merged(files)
        if evaluation is None or wrong is not None:
            raise wrong or Unreadable("no shard of the evaluation came back")
        return evaluation


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


def _base_folder(root: Path, environment: str | None, given: Path | None, *, optional: bool) -> Path | None:
    from rollout import wiring

    if given is not None:
        return given
    found = wiring.load_environment(environment, root).server.base_path if environment is not None else None
    if found is None and not optional:
        raise click.UsageError(
            "name the base model's folder: --base-model, or server.base_path of an environment"
        )
    return None if found is None else root / found


def _words(options: dict[str, str | None], flags: dict[str, bool]) -> list[str]:
    """Options as words of a command line; those that are not set are left out."""
    named = [word for name, value in options.items() if value is not None for word in (f"--{name}", value)]
    return [*named, *(f"--{name}" for name, is_set in flags.items() if is_set)]


def _seen_from(root: Path, path: Path) -> str:
    absolute = path.resolve()
    return absolute.relative_to(root).as_posix() if absolute.is_relative_to(root) else str(absolute)
