"""How many releases an environment holds at once."""

from __future__ import annotations

from rollout.core.lifecycle import RolloutState
from rollout.errors import LedgerConflict
from rollout.ports import World

_COMPARED = 2
"""Stable and candidate: while they are compared, neither may push the other, or itself, out of a server's slots."""


def no_room(world: World, name: str) -> str | None:
    """Why another release must not begin beside those under way, or None. One alone may always."""
    others = [other for other, state in world.ledger.states() if other != name and _may_be_under_way(state)]
    most = world.environment.fleet.max_releases
    if most is not None and len(others) >= most:
        return f"{len(others)} of {most} releases are under way: {_some(others)}"
    slots = world.environment.server.max_loras
    if others and (len(others) + 1) * _COMPARED > slots:
        return f"the {slots} adapter slots of the servers are taken by the releases of {_some(others)}"
    return None


def _may_be_under_way(state: RolloutState | LedgerConflict) -> bool:
    """A ledger that is not in order may hide a release."""
    return not isinstance(state, RolloutState) or state.phase.under_way


def _some(names: list[str]) -> str:
    shown = ", ".join(sorted(names)[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
