"""One tick: observe, judge, decide, and move one step at most. It may die anywhere and be run again.

Everything is derived anew from git, ledger, flag and servers; nothing is remembered between ticks.
"""

from __future__ import annotations

from rollout.core.lifecycle import Phase
from rollout.core.plan import Share
from rollout.core.unrecorded import still_to_be_recorded
from rollout.errors import Unreadable
from rollout.ports import World
from rollout.usecases.begin import Gatekeeper, perhaps_begin
from rollout.usecases.book import Signature
from rollout.usecases.lost import why_lost
from rollout.usecases.settle import after_promotion
from rollout.usecases.steady import steady
from rollout.usecases.tick import Move, Tick, Ticking
from rollout.usecases.walk import walk


def advance(world: World, name: str, *, signature: Signature, gatekeeper: Gatekeeper) -> Tick:
    """One tick for one adapter.

    Raises Busy if another one runs, WorldChanged on a lost race, Unreadable for a name that nothing knows.
    """
    with world.ledger.lease(name):
        ticking = Ticking(steady(world), name, signature)
        return ticking.told(_advance(ticking, world, name, gatekeeper))


def _advance(ticking: Ticking, world: World, name: str, gatekeeper: Gatekeeper) -> Tick:
    if (unfinished := ticking.state.unfinished_rollback) is not None and not _goes_forward(ticking):
        return ticking.take_back(unfinished.reason, again=True)
    if (told := world.unrecorded.find(name)) is not None:
        if still_to_be_recorded(told, ticking.state):
            return ticking.take_back(told.reason, told=told)
        world.unrecorded.forget(name)
    if ticking.state.phase.under_way:
        return walk(ticking, gatekeeper)
    if (lost := why_lost(ticking.world, name, ticking.state)) is not None:
        ticking.publish(Share.ZERO)
        return ticking.end(Move.HALTED, lost)
    ticking.ask_git()
    if ticking.desire is None and not ticking.book.entries:
        raise Unreadable(
            f"neither the manifests on {world.environment.branch} nor the ledger know {name!r}",
            advice=f"The ledger of {world.environment.name} knows: {', '.join(world.ledger.names()) or 'none'}.",
        )
    if ticking.state.phase is Phase.PROMOTED:
        return after_promotion(ticking)
    return perhaps_begin(ticking, gatekeeper)


def _goes_forward(ticking: Ticking) -> bool:
    """Whether a person wants what git asks for, though a rollback is not finished: its stable may be what is broken."""
    if ticking.state.hastened is None:
        return False
    ticking.ask_git()
    return ticking.desire is not None and ticking.state.is_hastened(ticking.desire.version.identity)
