"""The cool-down: for a while after a rollback nothing new begins, so that people look before the next version flaps."""

from __future__ import annotations

from datetime import datetime

from rollout.core.lifecycle import RolloutState, Version
from rollout.core.plan import Plan


def cools_until(plan: Plan, state: RolloutState, desired: Version, now: datetime) -> datetime | None:
    """When the version that git asks for may begin, if a rollback is too near; None if none keeps it from that.

    Every rollback that is remembered counts, also one whose bytes were let back since. Two kinds are not kept waiting:
    what a person wants everywhere at once, and a manifest that was released here before.
    """
    if state.is_hastened(desired.identity) or desired.manifest_sha256 in state.released:
        return None
    past = [each.at for each in (*state.quarantine.values(), state.rolled_back) if each is not None]
    if not past:
        return None
    until = max(past) + plan.cool_down
    return until if now < until else None


def told(until: datetime) -> str:
    """Why it waits, until when, and what goes at once."""
    return (
        f"cooling down after the rollback until {until:%Y-%m-%d %H:%M %Z}; `rollout promote` lets a repaired version"
        " begin at once"
    )
