"""Prove an adapter: champion, candidate and base answer the same suites in one engine, and are compared.

Nothing is loaded before its bytes are verified and inspected: the shelf lays down exactly what the manifests speak
of, and an adapter that is not sound never reaches an engine that might take it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from rollout.core.artifact import ArtifactFacts
from rollout.core.evaluation import EvalReport, Partial, Shard
from rollout.core.lifecycle import Evaluated
from rollout.core.loadable import why_not_loadable
from rollout.core.manifest import AdapterManifest
from rollout.core.merging import conclude
from rollout.errors import LedgerConflict, LoadRefused, Unreadable
from rollout.ports import ArtifactStore, Clock, Ledger, PanelScorer, Shelf, TaskRunner
from rollout.usecases.book import Book, Signature
from rollout.usecases.contest import Contest, Means, Progress, Scope, subject_of
from rollout.usecases.measure import measure
from rollout.usecases.power import require_power
from rollout.usecases.proving import Readings, read_probes, told

_ATTEMPTS = 5
Inspect = Callable[[AdapterManifest, Path], ArtifactFacts]
"""(manifest, folder) -> what its bytes are, compared with the base."""


def evaluate(
    contests: Sequence[Contest],
    means: Means,
    *,
    shelf: Shelf,
    inspect: Inspect,
    clock: Clock,
    tool: str,
    scope: Scope | None = None,
    base: Path | None = None,
    progress: Progress | None = None,
) -> tuple[Partial, ...]:
    """Measure one adapter on every suite, as far as the scope goes; `core.merging.conclude` makes the reports.

    The contests differ in their suites only. Raises Unreadable if bytes are not the manifest's, if the base is
    another one than the champion's, or if a gate's margin cannot be detected by its suite; LoadRefused if an
    adapter is not sound or the base does not take it.
    """
    scope, progress = scope or Scope(), progress or _silently
    if scope.is_whole:
        for contest in contests:
            require_power(contest.golden, first_release=contest.champion is None)
    started = clock.now()
    folders = _lay_down(contests[0], shelf, inspect)
    references = _references(contests, means, scope, folders, progress)
    found: list[Partial] = []
    with closing(means.open_engine()) as engine:
        engine.load(folders)
        for contest in contests:
            suite = contest.golden.suite.name
            one = measure(
                contest,
                engine,
                means,
                scope,
                progress,
                reference=references.get(suite),
                base=base,
                folders=folders,
            )
            found.append(
                Partial(
                    shard=str(scope.shard),
                    tool=tool,
                    started_at=started,
                    finished_at=clock.now(),
                    command=contest.command,
                    subject=subject_of(contest, engine.describe(), _panel(means, suite)),
                    measured=one.measured,
                    timings=one.timings,
                    notes=one.notes,
                )
            )
    return tuple(found)


def merge(shards: Sequence[Shard]) -> tuple[tuple[EvalReport, ...], Unreadable | None]:
    """The reports of all shards, one for each candidate and suite, in the order of their first appearance.

    Beside them is what is wrong with the shards of those that have none: not every one is there once, of the same
    evaluation. One candidate's missing shard takes no report from another. Raises Unreadable for a shard of several.
    """
    of_each: dict[str, list[Shard]] = {}
    for shard in shards:
        of_each.setdefault(_candidate_of(shard), []).append(shard)
    reports, wrong = list[EvalReport](), list[Unreadable]()
    for candidate, its in of_each.items():
        try:
            reports += _merged(its)
        except Unreadable as error:
            told = error.message if len(of_each) == 1 else f"{candidate}: {error.message}"
            wrong.append(Unreadable(told, advice=error.advice))
    if not wrong:
        return tuple(reports), None
    return tuple(reports), Unreadable("; ".join(each.message for each in wrong), advice=wrong[0].advice)


def _candidate_of(shard: Shard) -> str:
    """Whose shard it is. Raises Unreadable for one that is of several."""
    names = {f"{each.name} {each.version}" for each in (part.subject.candidate for part in shard.partials)}
    if len(names) > 1:
        raise Unreadable(f"one shard speaks of several adapters: {', '.join(sorted(names))}")
    return names.pop()


def _merged(shards: Sequence[Shard]) -> tuple[EvalReport, ...]:
    names = [partial.subject.suite for partial in shards[0].partials] if shards else []
    for shard in shards:
        if [partial.subject.suite for partial in shard.partials] != names:
            raise Unreadable(
                "the shards were asked different suites", advice="Run all of them from one commit."
            )
    return tuple(conclude([shard.partials[place] for shard in shards]) for place in range(len(names)))


def record_evaluation(
    report: EvalReport, *, ledger: Ledger, evidence: ArtifactStore, clock: Clock, signature: Signature
) -> Evaluated:
    """Keep the report as evidence and tell the ledger of it.

    An evaluation is true whatever else happens, so a lost race is tried again behind the new end. Raises
    LedgerConflict if that never ends.
    """
    digest, subject = evidence.put(report.content), report.subject
    for left in reversed(range(_ATTEMPTS)):
        try:
            return Book(ledger, subject.candidate.name, signature).add(
                Evaluated,
                clock.now(),
                identity=subject.candidate.identity,
                served_name=subject.candidate.served_name,
                champion=None if subject.champion is None else subject.champion.identity,
                outcome=report.outcome,
                report=digest,
                suite_digest=subject.suite_digest,
                gates_digest=subject.gates_digest,
            )
        except LedgerConflict:
            if not left:
                raise
    raise AssertionError("unreachable")


def _silently(doing: str, done: int, of: int) -> None:
    """No progress is shown."""


def _lay_down(contest: Contest, shelf: Shelf, inspect: Inspect) -> dict[str, Path]:
    champion, candidate = contest.champion, contest.candidate
    if champion is not None and champion.base != candidate.base:
        raise Unreadable(
            f"{candidate.served_name} and {champion.served_name} stand on different bases",
            advice="One engine holds one base. Release a new base as a first release, without a champion.",
        )
    folders = {}
    for manifest in contest.manifests.values():
        folder = shelf.lay_down(manifest)
        if reasons := why_not_loadable(inspect(manifest, folder)):
            raise LoadRefused(
                f"adapter {manifest.served_name} is not loaded: {'; '.join(reasons)}",
                advice="See `rollout inspect`; correct the export, and give the manifest its new digests.",
            )
        folders[manifest.served_name] = folder
    return folders


def _references(
    contests: Iterable[Contest],
    means: Means,
    scope: Scope,
    folders: Mapping[str, Path],
    progress: Progress,
) -> dict[str, tuple[str, Readings]]:
    """How a full-precision reference reads the probes of every suite; it is gone before the engine comes."""
    if means.reference is None or not scope.shard.is_first:
        return {}
    with closing(means.reference()) as reference:
        reference.load(folders)
        name = told(reference.describe())
        return {
            contest.golden.suite.name: (
                name,
                read_probes(contest, reference, progress, "asking the reference"),
            )
            for contest in contests
        }


def _panel(means: Means, suite: str) -> dict[str, Mapping[str, str]]:
    runner = means.tasks.get(suite)
    asked: list[PanelScorer | TaskRunner] = [*means.panels.get(suite, ())]
    asked += [] if runner is None else [runner]
    return {one.name: one.describe() for one in asked}
