"""Whether a share may rise now: the plan's windows, and the freezes that the branch holds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from rollout.core.closing import closed_time
from rollout.core.decide import clock_began, is_overdue
from rollout.core.freeze import Freeze
from rollout.core.lifecycle import RolloutState
from rollout.core.plan import Plan
from rollout.core.window import Window, closed_until
from rollout.errors import RolloutError
from rollout.ports import World
from rollout.usecases.workspace import Workspace


def closed(world: World, windows: Sequence[Window], now: datetime) -> str | None:
    """Why nothing may rise now, in a sentence that says until when; None if it may."""
    return frozen(world, now) or _outside(windows, now)


def closed_for(world: World, plan: Plan, state: RolloutState, now: datetime) -> timedelta:
    """For how long nothing might rise since the deadline's clock began; it is asked only where that matters."""
    return idle(world, plan, state, now) if is_overdue(plan, state, now) else timedelta(0)


def idle(world: World, plan: Plan, state: RolloutState, now: datetime) -> timedelta:
    """The same, wherever the deadline is. Freezes that cannot be read are none: the deadline goes on."""
    began = clock_began(state)
    if began is None:
        return timedelta(0)
    try:
        freezes = _freezes(world)
    except RolloutError:
        freezes = []
    return closed_time(plan.windows, freezes, began, now)


def is_late(world: World, plan: Plan, state: RolloutState, now: datetime) -> bool:
    """Whether the deadline of the present state has passed."""
    return state.phase.under_way and is_overdue(plan, state, now, closed_for(world, plan, state, now))


def frozen(world: World, now: datetime) -> str | None:
    """The freeze that holds here now. Freezes are those of the newest commit; what cannot be read may hold one."""
    try:
        freezes = _freezes(world)
    except RolloutError as error:
        return f"whether anything is frozen is not known: {error.message}"
    for freeze in freezes:
        if freeze.begins <= now < freeze.ends:
            reason = " ".join(freeze.reason.split())
            return f"the freeze {freeze.name} ends at {freeze.ends:%Y-%m-%d %H:%M %Z}: {reason}"
    return None


def _freezes(world: World) -> list[Freeze]:
    """Those of this environment, past and to come."""
    found = Workspace(world.manifests.tree(), world.documents).freezes()
    here = world.environment.name
    return [
        each
        for each in (found.value.freezes if found else ())
        if not each.environments or here in each.environments
    ]


def _outside(windows: Sequence[Window], now: datetime) -> str | None:
    opens = closed_until(windows, now)
    return (
        None
        if opens is None
        else f"outside the plan's windows: the next one opens at {opens:%A %Y-%m-%d %H:%M %Z}"
    )
