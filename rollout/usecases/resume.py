"""Let a release that somebody turned down by hand go on."""

from __future__ import annotations

from rollout.core.lifecycle import Lowered, Resumed
from rollout.errors import Usage
from rollout.ports import World
from rollout.usecases.book import Book, Signature


def resume(world: World, name: str, *, reason: str, signature: Signature) -> Lowered:
    """Record that the release may go up again to the step it was at; the next tick does so, and soaks it anew.

    The answer is what it had waited at. Raises Usage if nothing was turned down, Busy while a tick runs.
    """
    with world.ledger.lease(name):
        book = Book(world.ledger, name, signature)
        lowered = book.state.lowered
        if lowered is None:
            raise Usage(
                f"the flag of {name} was not turned down by hand, so there is nothing to resume",
                advice=f"`rollout status {name}` says what the release waits for.",
            )
        book.add(Resumed, world.clock.now(), reason=reason)
        return lowered
