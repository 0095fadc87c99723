"""Who is compared with whom, on what, and by which means."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from rollout.core.evaluation import BaseFacts, Contender, EngineFacts, Side, Subject
from rollout.core.leak import NOTHING_COMPARED
from rollout.core.manifest import AdapterManifest
from rollout.core.planning import BLOCK, WHOLE, ShardNumber
from rollout.core.suite import Golden
from rollout.core.verdict import Verdict
from rollout.ports import AnswerCache, Engine, EngineInfo, PanelScorer, TaskRunner
from rollout.usecases.audit import rules_of

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """Who is compared, on what. Without a champion the base is it. `command` reproduces the evaluation.

    `leak` says whether items of the suite stand in the training data.
    """

    candidate: AdapterManifest
    champion: AdapterManifest | None
    golden: Golden
    command: str
    leak: Verdict = NOTHING_COMPARED

    @property
    def manifests(self) -> dict[Side, AdapterManifest]:
        """The adapters under evaluation."""
        champion = {} if self.champion is None else {Side.CHAMPION: self.champion}
        return {**champion, Side.CANDIDATE: self.candidate}

    @property
    def adapters(self) -> dict[Side, str | None]:
        """The engine's adapter name of every side; the base has none."""
        return {Side.BASE: None, **{side: of.served_name for side, of in self.manifests.items()}}

    @property
    def identities(self) -> dict[Side, str | None]:
        """What every side is, byte by byte; None is the base."""
        return {Side.BASE: None, **{side: of.identity for side, of in self.manifests.items()}}

    @property
    def copies(self) -> dict[Side, int]:
        """How many sides before this one are the very same adapter: 1 for a candidate that is the champion."""
        found = list(self.identities.items())
        return {
            side: sum(other == identity for _, other in found[:place])
            for place, (side, identity) in enumerate(found)
        }

    @property
    def stable(self) -> Side:
        """What serves today: the champion, or the base where there is none."""
        return Side.BASE if self.champion is None else Side.CHAMPION


def never() -> bool:
    """Time does not run out."""
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """How much of the work is done here. `out_of_time` is asked between blocks; the first is always done.

    `max_cases` takes a fair sample of the suite.
    """

    shard: ShardNumber = WHOLE
    max_cases: int | None = None
    out_of_time: Callable[[], bool] = never
    block: int = BLOCK

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left out on purpose."""
        return self.max_cases is None and self.out_of_time is never


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What an evaluation is made with. The reference is opened before the engine and closed before it too."""

    open_engine: Callable[[], Engine]
    cache: AnswerCache
    reference: Callable[[], Engine] | None = None
    panels: Mapping[str, Sequence[PanelScorer]] = field(default_factory=dict)
    tasks: Mapping[str, TaskRunner] = field(default_factory=dict)


def subject_of(contest: Contest, engine: EngineInfo, panel: Mapping[str, Mapping[str, str]]) -> Subject:
    """Everything that is settled before the first answer."""
    golden, base = contest.golden, contest.candidate.base
    return Subject(
        suite=golden.suite.name,
        suite_digest=golden.suite_digest,
        gates_name=golden.suite.gates,
        gates_digest=golden.gates_digest,
        candidate=_contender(contest.candidate),
        champion=None if contest.champion is None else _contender(contest.champion),
        base=BaseFacts(
            repo=base.repo,
            revision=base.revision,
            quantization=base.quantization.value,
            dtype=base.dtype.value,
        ),
        engine=engine_facts(engine),
        max_tokens=golden.suite.max_tokens,
        repeats=golden.suite.repeats,
        rules=rules_of(golden),
        panel={name: dict(facts) for name, facts in panel.items()},
        reported=dict(contest.candidate.evaluation.reported),
    )


def engine_facts(engine: EngineInfo) -> EngineFacts:
    """What two runs must have in common to be compared; the machine is not part of it."""
    return EngineFacts(
        name=engine.name,
        version=engine.version,
        dtype=engine.dtype,
        quantization=engine.quantization,
        device=engine.device,
        batch_size=engine.batch_size,
        details=dict(engine.details),
    )


def _contender(manifest: AdapterManifest) -> Contender:
    return Contender(
        name=manifest.name,
        version=manifest.version,
        served_name=manifest.served_name,
        identity=manifest.identity,
    )
