"""Let a release go on that waits for a person, with its step begun anew."""

from __future__ import annotations

from rollout.core.lifecycle import Phase, Resumed, RolloutState
from rollout.errors import Usage
from rollout.ports import World
from rollout.usecases.book import Book, Signature


def resume(world: World, name: str, *, reason: str, signature: Signature) -> RolloutState:
    """Record that the release goes on, with its step begun anew: its time, and who was served in it.

    One that was turned down goes up again to the step it was at with the next tick. The answer is the state.
    Raises Usage if no step is under way, Busy while a tick runs.
    """
    with world.ledger.lease(name):
        book = Book(world.ledger, name, signature)
        state = book.state
        if state.lowered is None and (state.phase is not Phase.CANARY or state.step < 0):
            raise Usage(
                f"no step of {name} is under way, and nobody turned its flag down: there is nothing to resume",
                advice=f"`rollout status {name}` says what the release waits for.",
            )
        book.add(Resumed, world.clock.now(), reason=reason, edge=world.metrics.edge())
        return book.state
