"""Judge again what was seen: the same evidence gives the same verdicts, byte for byte, on any machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

from pydantic import TypeAdapter, ValidationError

from rollout.core.lifecycle import LedgerEntry, Looked, RolloutState, apply
from rollout.core.metric import Samples
from rollout.errors import RolloutError, Unreadable
from rollout.ports import World
from rollout.usecases.look import analyse, canonical, observed
from rollout.usecases.release import ReleasePolicy, read_manifest, read_policy

_SAMPLES = TypeAdapter(list[Samples])


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """One look judged again. `complaint` says what came out otherwise, or why it could not be judged; None if all is
    the same."""

    entry: LedgerEntry
    looked: Looked
    complaint: str | None


def replay(world: World, name: str) -> Iterator[Replayed]:
    """Every look that the ledger holds with its evidence, oldest first. Raises LedgerConflict as reading it does."""
    state = RolloutState()
    policies: dict[tuple[str, str], ReleasePolicy] = {}
    for entry in world.ledger.read(name):
        if isinstance(entry.event, Looked):
            yield Replayed(
                entry=entry, looked=entry.event, complaint=_judged(world, state, entry.event, policies)
            )
        state = apply(state, entry)


def _judged(
    world: World, state: RolloutState, looked: Looked, policies: dict[tuple[str, str], ReleasePolicy]
) -> str | None:
    try:
        policy = _policy(world, state, policies)
        return _difference(world, policy, state, looked)
    except RolloutError as error:
        return f"cannot be judged again: {error.message}"


def _policy(
    world: World, state: RolloutState, policies: dict[tuple[str, str], ReleasePolicy]
) -> ReleasePolicy:
    assert state.candidate is not None
    assert state.started is not None
    key = state.candidate.identity, state.started.policy_commit
    if key not in policies:
        policies[key] = read_policy(world, read_manifest(world, state.candidate).value, key[1])
    return policies[key]


def _difference(world: World, policy: ReleasePolicy, state: RolloutState, looked: Looked) -> str | None:
    if looked.detail is None:
        raise Unreadable("no evidence of it was kept")
    detail = json.loads(world.evidence.get(looked.detail))
    try:
        seen = _SAMPLES.validate_python(detail["samples"])
    except (ValidationError, KeyError, TypeError) as error:
        raise Unreadable(
            f"its evidence {looked.detail[:12]} holds no samples: {type(error).__name__}"
        ) from None
    evidence = observed(policy, state, seen, looked.at)
    if dict(evidence) != looked.evidence:
        changed = [metric for metric in evidence if evidence[metric] != looked.evidence.get(metric)]
        return f"other sums of {', '.join(changed) or 'nothing that was recorded'}"
    analysis = analyse(policy, replace(state, evidence=evidence), looked.at)
    if analysis.outcome is not looked.outcome or analysis.reasons != looked.reasons:
        return f"another outcome: {analysis.outcome} instead of {looked.outcome}"
    again = canonical({**detail, "verdicts": [asdict(verdict) for verdict in analysis.verdicts]})
    return None if again == canonical(detail) else "other verdicts"
