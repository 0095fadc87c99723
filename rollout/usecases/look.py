"""One look: sample every metric of the stage, add it to the evidence, judge."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

from rollout.core.judge import Evidence, judge, observe
from rollout.core.lifecycle import Erred, Looked, Phase, RolloutState
from rollout.core.metric import Comparison, MetricSpec, Requirement, Samples, Stage
from rollout.core.plan import Plan, Share
from rollout.core.verdict import Analysis, Outcome
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
        ring=state.reach.is_ring_alone,
    )


def required_in(plan: Plan, state: RolloutState) -> Requirement:
    """What the present state asks of each metric before the release goes on."""
    if state.phase is Phase.SHADOW and plan.shadow is not None:
        return plan.shadow.requires
    if state.phase is Phase.CANARY and state.step >= 0:
        return plan.steps[state.step].requires
    return Requirement.NON_INFERIOR


def analyse(policy: ReleasePolicy, state: RolloutState, now: datetime) -> Analysis:
    """What the evidence in the ledger says at `now`. Pure: any machine comes to the same answer."""
    stage = stage_of(state)
    return Analysis(
        verdicts=tuple(
            judge(
                spec,
                state.evidence.get(spec.id, Evidence()),
                stage=stage,
                requires=required_in(policy.plan, state),
                alpha=policy.alpha,
                alpha_advance=policy.plan.alpha_advance,
                now=now,
                since=state.entered_at,
            )
            for spec in policy.judged_in(stage)
        )
    )


def look(world: World, book: Book, policy: ReleasePolicy) -> Analysis:
    """Take one look and record it, with what was seen kept as evidence. A source that is down is recorded too.

    What one source cannot say is asked again with the next look, whose window begins where this one did. Only harm
    that the others show is not put off: then those that are silent wait alone. A silent metric that no step asks for
    keeps nothing from going on, and waits as well.
    """
    state, now = book.state, world.clock.now()
    comparison = comparison_of(world, book.name, state)
    seen: list[Samples] = []
    needed: list[str] = []
    waiting: dict[str, str] = {}
    try:
        edge = world.metrics.edge()
    except Unavailable as error:
        book.add(Erred, now, reason=error.message)
        return Analysis()
    for spec in policy.judged_in(comparison.stage):
        since = _since(state, spec)
        try:
            seen.append(world.metrics.samples(spec, comparison, since=since, until=edge))
        except Unavailable as error:
            waiting[spec.id] = since
            if spec.required:
                needed.append(f"{spec.id}: {error.message}")
            else:
                seen.append(Samples(metric=spec.id, since=since, until=edge, stable=None, candidate=None))
    evidence = observed(policy, state, seen, now)
    analysis = analyse(policy, replace(state, evidence=evidence), now)
    if needed and analysis.outcome is not Outcome.FAIL:
        book.add(Erred, now, reason="; ".join(needed)[:2000])
        return Analysis()
    _record(world, book, analysis, evidence, seen, edge, waiting, now)
    return analysis


def _since(state: RolloutState, spec: MetricSpec) -> str:
    """Where the window of a metric begins: where the last look ended, unless its source was silent then."""
    assert state.edge is not None
    return state.waiting.get(spec.id, state.edge)


def observed(
    policy: ReleasePolicy, state: RolloutState, seen: list[Samples], now: datetime
) -> Mapping[str, Evidence]:
    """The evidence of a state with one look more."""
    return {
        **state.evidence,
        **{
            samples.metric: observe(
                state.evidence.get(samples.metric, Evidence()),
                policy.metrics[samples.metric],
                samples,
                now=now,
            )
            for samples in seen
        },
    }


def _record(
    world: World,
    book: Book,
    analysis: Analysis,
    evidence: Mapping[str, Evidence],
    seen: list[Samples],
    edge: str,
    waiting: Mapping[str, str],
    now: datetime,
) -> None:
    detail = {
        "stage": stage_of(book.state),
        "samples": [asdict(samples) for samples in seen],
        "verdicts": [asdict(verdict) for verdict in analysis.verdicts],
    }
    book.add(
        Looked,
        now,
        edge=edge,
        waiting=dict(waiting),
        outcome=analysis.outcome,
        evidence=dict(evidence),
        reasons=analysis.reasons,
        detail=world.evidence.queue(canonical(detail)),
    )


def canonical(detail: dict[str, Any]) -> bytes:
    """What was seen, as the bytes that are kept."""
    return json.dumps(detail, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
