"""One look: sample every metric of the stage, add it to the evidence, judge."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

from rollout.core.judge import Evidence, judge, observe
from rollout.core.lifecycle import Erred, Looked, Phase, RolloutState
from rollout.core.metric import Comparison, Samples, Stage
from rollout.core.plan import Share
from rollout.core.verdict import Analysis
from rollout.errors import Unavailable
from rollout.ports import World
from rollout.usecases.book import Book
from rollout.usecases.release import ReleasePolicy


def stage_of(state: RolloutState) -> Stage:
    """Which stage's metrics judge a state."""
    if state.phase is Phase.SHADOW:
        return Stage.SHADOW
    return Stage.BAKE if state.share == Share.FULL else Stage.CANARY


def comparison_of(world: World, name: str, state: RolloutState) -> Comparison:
    """Which two adapters the release under way compares."""
    assert state.candidate is not None
    return Comparison(
        name=name,
        stable=state.stable.served_name if state.stable else world.environment.server.base,
        candidate=state.candidate.served_name,
        stage=stage_of(state),
    )


def analyse(policy: ReleasePolicy, state: RolloutState) -> Analysis:
    """What the evidence in the ledger says now. Pure: any machine comes to the same answer."""
    stage = stage_of(state)
    return Analysis(
        verdicts=tuple(
            judge(
                spec,
                state.evidence.get(spec.id, Evidence()),
                stage=stage,
                alpha=policy.alpha,
                alpha_advance=policy.plan.alpha_advance,
            )
            for spec in policy.judged_in(stage)
        )
    )


def look(world: World, book: Book, policy: ReleasePolicy) -> Analysis:
    """Take one look and record it, with what was seen kept as evidence. A source that is down is recorded too."""
    state = book.state
    assert state.edge is not None
    comparison = comparison_of(world, book.name, state)
    try:
        edge = world.metrics.edge()
        seen = [
            world.metrics.samples(spec, comparison, since=state.edge, until=edge)
            for spec in policy.judged_in(comparison.stage)
        ]
    except Unavailable as error:
        book.add(Erred, world.clock.now(), reason=error.message)
        return Analysis()
    return _record(world, book, policy, seen, edge)


def _record(world: World, book: Book, policy: ReleasePolicy, seen: list[Samples], edge: str) -> Analysis:
    state = book.state
    evidence = {
        **state.evidence,
        **{
            samples.metric: observe(
                state.evidence.get(samples.metric, Evidence()), policy.metrics[samples.metric], samples
            )
            for samples in seen
        },
    }
    analysis = analyse(policy, _with_evidence(state, evidence))
    detail = {
        "stage": stage_of(state),
        "samples": [asdict(samples) for samples in seen],
        "verdicts": [asdict(verdict) for verdict in analysis.verdicts],
    }
    book.add(
        Looked,
        world.clock.now(),
        edge=edge,
        outcome=analysis.outcome,
        evidence=evidence,
        reasons=analysis.reasons,
        detail=world.evidence.put(_canonical(detail)),
    )
    return analysis


def _with_evidence(state: RolloutState, evidence: dict[str, Evidence]) -> RolloutState:
    return replace(state, evidence=evidence)


def _canonical(detail: dict[str, Any]) -> bytes:
    return json.dumps(detail, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
