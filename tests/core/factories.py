"""Plain values for the tests of core: versions, events and states, each with sensible defaults."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from rollout.core.flag import FlagState
from rollout.core.judge import Evidence
from rollout.core.lifecycle import (
    GENESIS,
    Evaluated,
    Intended,
    LedgerEntry,
    LedgerEvent,
    Looked,
    Lowered,
    Phase,
    Promoted,
    Resumed,
    RolledBack,
    RolloutState,
    Settled,
    Settling,
    Shifted,
    Started,
    Version,
    fold,
    next_entry,
)
from rollout.core.metric import MetricSpec
from rollout.core.plan import Plan, Share
from rollout.core.verdict import Outcome

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SHA = "ab" * 32


def version(number: str = "1.0.0") -> Version:
    identity = (number.replace(".", "") * 32)[:64]
    return Version(
        version=number,
        identity=identity,
        served_name=f"bot-{number}-{identity[:12]}",
        path="manifests/team/bot.yaml",
        commit="c" * 40,
        manifest_sha256=identity,
    )


OLD, NEW = version("1.0.0"), version("1.1.0")


def event(kind: type[LedgerEvent], at: datetime = NOON, **fields: Any) -> LedgerEvent:
    return kind(at=at, actor="ann", environment="prod", name="bot", tool="0", **fields)


def chain(*events: LedgerEvent) -> tuple[LedgerEntry, ...]:
    entries: list[LedgerEntry] = []
    for each in events:
        entries.append(next_entry(entries[-1] if entries else None, each))
    assert not entries or entries[0].previous == GENESIS
    return tuple(entries)


def started(phase: Phase = Phase.SHADOW, candidate: Version = NEW, **fields: Any) -> LedgerEvent:
    defaults = {"plan": "p", "policy_commit": "d" * 40, "flag_version": 3, "edge": "0", "report": SHA}
    return event(Started, candidate=candidate, phase=phase, **(defaults | fields))


def shift(step: int, share: str, at: datetime = NOON) -> tuple[LedgerEvent, LedgerEvent]:
    exact = Share.parse(share)
    return (
        event(Intended, at, step=step, share=exact, turn_on=step == 0, flag_version=3 + step, reason="on"),
        event(Shifted, at, step=step, share=exact, flag_version=4 + step, edge=str(step)),
    )


def looked(outcome: Outcome = Outcome.PASS, at: datetime = NOON, **evidence: Evidence) -> LedgerEvent:
    return event(Looked, at, edge="9", outcome=outcome, evidence=evidence)


def evaluated(candidate: Version = NEW, champion: Version | None = OLD, **fields: Any) -> LedgerEvent:
    defaults = {"outcome": Outcome.PASS, "report": SHA, "suite_digest": "1" * 64, "gates_digest": "2" * 64}
    return event(
        Evaluated,
        identity=candidate.identity,
        served_name=candidate.served_name,
        champion=champion.identity if champion else None,
        **(defaults | fields),
    )


def rolled_back(bad: Version | None = NEW, at: datetime = NOON) -> LedgerEvent:
    return event(
        RolledBack,
        at,
        reason="worse",
        automatic=True,
        bad=bad,
        from_share=Share.parse("10%"),
        flag_version=9,
        flag_written_at=at,
    )


def lowered(share: str = "5%", number: int = 8) -> LedgerEvent:
    return event(
        Lowered, share=Share.parse(share), flag_version=number, by="eve", reason="turned down by eve"
    )


def resumed() -> LedgerEvent:
    return event(Resumed, later(minutes=5), reason="it was another service")


def promoted() -> LedgerEvent:
    return event(Promoted, reason="proven")


def settling() -> LedgerEvent:
    return event(Settling, reason="window over")


def settled() -> LedgerEvent:
    return event(Settled, flag_version=12)


def state(*events: LedgerEvent) -> RolloutState:
    return fold(chain(*events))


def plan(**changes: Any) -> Plan:
    document: dict[str, Any] = {
        "schema": "adapter-rollout/plan/v1",
        "name": "p",
        "shadow": {"duration": "10m", "pairs": 50},
        "steps": [
            {"share": "10%", "bake": "10m", "min_samples": 100},
            {"share": "50%", "bake": "10m", "min_samples": 100},
            {"share": "100%", "bake": "30m", "min_samples": 100},
        ],
        "deadline": "2h",
        "metrics": ["errors"],
    }
    return Plan.model_validate_json(json.dumps(document | changes), strict=True)


def metric(**changes: Any) -> MetricSpec:
    document: dict[str, Any] = {
        "schema": "adapter-rollout/metric/v1",
        "id": "errors",
        "title": "errors",
        "kind": "rate",
        "event": "error",
        "direction": "lower_is_better",
        "margin": 0.1,
        "max_rate": 0.1,
        "min_samples": 50,
        "on_missing": "inconclusive",
        "stages": ["shadow", "canary", "bake"],
    }
    return MetricSpec.model_validate_json(json.dumps(document | changes), strict=True)


def flag(share: str = "0%", *, on: bool = True, by: str = "rollout", number: int = 5) -> FlagState:
    return FlagState(
        key="lora-bot", version=number, on=on, share=Share.parse(share), changed_by=by, read_at=NOON
    )


def later(**length: float) -> datetime:
    return NOON + timedelta(**length)
