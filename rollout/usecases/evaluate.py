"""Prove an adapter: champion, candidate and base answer the same suite in one engine, and are compared.

Nothing is loaded before its bytes are verified: the shelf lays down exactly what the manifests speak of.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from rollout.core.comparison import pair
from rollout.core.evaluation import (
    BaseFacts,
    Contender,
    EngineFacts,
    EvalReport,
    Example,
    Measured,
    Rules,
    Side,
)
from rollout.core.gate import gate, metric_rows
from rollout.core.lifecycle import Evaluated
from rollout.core.manifest import AdapterManifest
from rollout.core.slices import slice_rows
from rollout.core.suite import Golden, Item
from rollout.errors import LedgerConflict, Unreadable
from rollout.ports import ArtifactStore, Clock, Engine, EngineInfo, Ledger, Shelf
from rollout.usecases.book import Book, Signature
from rollout.usecases.measure import Answers, Contest, Progress, measure

EXAMPLES = 10
_SHOWN_LETTERS = 4000
_ATTEMPTS = 5


def evaluate(
    contest: Contest,
    *,
    open_engine: Callable[[], Engine],
    shelf: Shelf,
    clock: Clock,
    tool: str,
    progress: Progress | None = None,
) -> EvalReport:
    """Run the whole evaluation. The report's outcome is the verdict; an exception means that there is none.

    The engine is opened when the bytes of all adapters are verified. Raises Unreadable if they are not the
    manifest's, or if its base is another one than the champion's; LoadRefused if the base does not take an adapter.
    """
    started = clock.now()
    folders = _lay_down(contest, shelf)
    engine = open_engine()
    engine.load(folders)
    measured, answers = measure(contest, engine, progress or _silently)
    return conclude(
        contest, measured, answers, engine.describe(), tool=tool, started=started, finished=clock.now()
    )


def conclude(
    contest: Contest,
    measured: Measured,
    answers: Answers,
    engine: EngineInfo,
    *,
    tool: str,
    started: datetime,
    finished: datetime,
) -> EvalReport:
    """The report of what was measured, with its verdicts."""
    golden, rules = contest.golden, _rules(contest.golden)
    return EvalReport(
        schema=EvalReport.model_fields["schema_"].default,
        tool=tool,
        started_at=started,
        finished_at=finished,
        command=contest.command,
        suite=golden.suite.name,
        suite_digest=golden.suite_digest,
        gates_name=golden.suite.gates,
        gates_digest=golden.gates_digest,
        candidate=_contender(contest.candidate),
        champion=None if contest.champion is None else _contender(contest.champion),
        base=_base(contest.candidate),
        engine=_facts(engine),
        max_tokens=golden.suite.max_tokens,
        rules=rules,
        measured=measured,
        metrics=metric_rows(measured, rules),
        slices=slice_rows(measured, rules),
        verdicts=gate(measured, rules).verdicts,
        examples=_examples(golden, measured, answers),
        reported=dict(contest.candidate.evaluation.reported),
    )


def record_evaluation(
    report: EvalReport, *, ledger: Ledger, evidence: ArtifactStore, clock: Clock, signature: Signature
) -> Evaluated:
    """Keep the report as evidence and tell the ledger of it.

    An evaluation is true whatever else happens, so a lost race is tried again behind the new end. Raises
    LedgerConflict if that never ends.
    """
    digest = evidence.put(report.content)
    for left in reversed(range(_ATTEMPTS)):
        try:
            return Book(ledger, report.candidate.name, signature).add(
                Evaluated,
                clock.now(),
                identity=report.candidate.identity,
                served_name=report.candidate.served_name,
                champion=None if report.champion is None else report.champion.identity,
                outcome=report.outcome,
                report=digest,
                suite_digest=report.suite_digest,
                gates_digest=report.gates_digest,
            )
        except LedgerConflict:
            if not left:
                raise
    raise AssertionError("unreachable")


def _silently(doing: str, done: int, of: int) -> None:
    """No progress is shown."""


def _lay_down(contest: Contest, shelf: Shelf) -> dict[str, Path]:
    manifests = [contest.candidate, *([] if contest.champion is None else [contest.champion])]
    if contest.champion is not None and contest.champion.base != contest.candidate.base:
        raise Unreadable(
            f"{contest.candidate.served_name} and {contest.champion.served_name} stand on different bases",
            advice="One engine holds one base. Release a new base as a first release, without a champion.",
        )
    return {manifest.served_name: shelf.lay_down(manifest) for manifest in manifests}


def _rules(golden: Golden) -> Rules:
    suite = golden.suite
    return Rules(
        gates=golden.gates.gates,
        champion_margin=suite.champion_margin,
        confidence=suite.confidence,
        seed=suite.seed,
        on_inconclusive=suite.on_inconclusive,
    )


def _contender(manifest: AdapterManifest) -> Contender:
    return Contender(
        name=manifest.name,
        version=manifest.version,
        served_name=manifest.served_name,
        identity=manifest.identity,
    )


def _base(manifest: AdapterManifest) -> BaseFacts:
    base = manifest.base
    return BaseFacts(
        repo=base.repo, revision=base.revision, quantization=base.quantization.value, dtype=base.dtype.value
    )


def _facts(engine: EngineInfo) -> EngineFacts:
    return EngineFacts(
        name=engine.name,
        version=engine.version,
        dtype=engine.dtype,
        quantization=engine.quantization,
        device=engine.device,
        threads=engine.threads,
        batch_size=engine.batch_size,
        details=dict(engine.details),
    )


def _examples(golden: Golden, measured: Measured, answers: Answers) -> tuple[Example, ...]:
    """What fell most first; then what is still wrong; then what changed; then anything."""
    fell = {name: _falls(measured, name) for name in ("success", "rouge_l")}
    right = {item.id: item.scores[Side.CANDIDATE].get("success", 1.0) for item in measured.items}
    ours, theirs = answers[Side.CANDIDATE], answers[measured.opponent]

    def worst_first(item: Item) -> tuple[float, float, float, bool, str]:
        drop, drift = (max(0.0, falls.get(item.id, 0.0)) for falls in fell.values())
        return -drop, -drift, right[item.id], ours[item.id].text == theirs[item.id].text, item.id

    order = sorted(golden.items, key=worst_first)[:EXAMPLES]
    return tuple(_example(item, fell["success"].get(item.id, 0.0), answers) for item in order)


def _falls(measured: Measured, name: str) -> dict[str, float]:
    pairs = pair(measured, name)
    return {id_: -gain for id_, gain in zip(pairs.ids, pairs.gains, strict=True)}


def _example(item: Item, drop: float, answers: Answers) -> Example:
    return Example(
        id=item.id,
        slice=item.slice,
        messages=item.messages,
        reference=item.reference,
        answers={side: _shortened(of[item.id].text) for side, of in answers.items()},
        drop=drop,
    )


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN_LETTERS else text[:_SHOWN_LETTERS] + "…"
