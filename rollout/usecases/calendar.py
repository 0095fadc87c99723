"""Whether a share may rise now: the plan's windows, and the freezes that the branch holds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rollout.core.freeze import Freeze
from rollout.core.window import Window, closed_until
from rollout.errors import RolloutError
from rollout.ports import World
from rollout.usecases.workspace import Workspace


def closed(world: World, windows: Sequence[Window], now: datetime) -> str | None:
    """Why nothing may rise now, in a sentence that says until when; None if it may."""
    return frozen(world, now) or _outside(windows, now)


def frozen(world: World, now: datetime) -> str | None:
    """The freeze that holds here now. Freezes are those of the newest commit; what cannot be read may hold one."""
    try:
        found = Workspace(world.manifests.tree(), world.documents).freezes()
    except RolloutError as error:
        return f"whether anything is frozen is not known: {error.message}"
    for freeze in found.value.freezes if found else ():
        if _holds(freeze, world.environment.name, now):
            reason = " ".join(freeze.reason.split())
            return f"the freeze {freeze.name} ends at {freeze.ends:%Y-%m-%d %H:%M %Z}: {reason}"
    return None


def _holds(freeze: Freeze, environment: str, now: datetime) -> bool:
    here = not freeze.environments or environment in freeze.environments
    return here and freeze.begins <= now < freeze.ends


def _outside(windows: Sequence[Window], now: datetime) -> str | None:
    opens = closed_until(windows, now)
    return (
        None
        if opens is None
        else f"outside the plan's windows: the next one opens at {opens:%A %Y-%m-%d %H:%M %Z}"
    )
