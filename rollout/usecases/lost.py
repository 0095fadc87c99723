"""A ledger that knows of no beginning, in a world that is past it: it was lost, or another one is read."""

from __future__ import annotations

from rollout.core.flag import FlagState
from rollout.core.lifecycle import RolloutState
from rollout.core.routes import Route
from rollout.ports import World

WHAT_TO_DO = (
    "restore the ledger from its backup, or point the environment at the right one; if it is gone for good, let git"
    " ask for what is stable and run `rollout adopt`"
)


def why_lost(world: World, name: str, state: RolloutState) -> str | None:
    """What shows that something was released here of which the ledger does not know; None if nothing does."""
    if state.began:
        return None
    route = world.routes.read().routes.get(name)
    flag = world.flags.read(world.environment.flag_key(name))
    signs = [*_of_route(route, world.environment.server.base), *_of_flag(flag)]
    if not signs:
        return None
    knows_nothing = f"the ledger of {world.environment.name} knows of no release of {name}"
    return f"{knows_nothing}, but {' and '.join(signs)}: {WHAT_TO_DO}"


def _of_route(route: Route | None, base: str) -> list[str]:
    if route is None:
        return []
    stable = [] if route.stable == base else [f"its route names {route.stable} as stable"]
    return stable + ([f"its route names the candidate {route.candidate}"] if route.candidate else [])


def _of_flag(flag: FlagState | None) -> list[str]:
    if flag is None or flag.reach.is_nobody:
        return []
    return [f"its flag gives {flag.reach} to a candidate"]
