"""What a person asks of a release: to wait, to go everywhere now, or to begin once more. The next tick does it.

Nobody waits for a tick that runs meanwhile: what it announces behind these words is refused by the ledger.
"""

from __future__ import annotations

from collections.abc import Callable

from rollout.core.lifecycle import (
    Hastened,
    IllegalHistory,
    LedgerEvent,
    Paused,
    Phase,
    Retried,
    RolledBack,
    RolloutState,
)
from rollout.errors import LedgerConflict, Unreadable, Usage
from rollout.ports import World
from rollout.usecases.book import Book, Signature

_APPENDS = 20


def pause(world: World, name: str, *, reason: str, signature: Signature) -> RolloutState:
    """Let the release go no further until it is resumed. Raises Usage if none is under way, or it is paused already."""

    def check(state: RolloutState) -> None:
        if state.paused is not None:
            raise Usage(f"{state.paused.actor} has paused {name} already: {state.paused.reason}")
        if not state.phase.under_way and (state.phase is not Phase.PROMOTED or state.settling):
            raise _nothing_under_way(name)

    return _say(world, name, signature, check, Paused, lambda _: {"reason": reason})


def hasten(world: World, name: str, *, reason: str, signature: Signature) -> RolloutState:
    """Let the candidate go to everybody with the next tick, and at 100 % be promoted without waiting.

    Nothing is proven then; shown harm still takes it back. Raises Usage if none is under way, or somebody else has
    turned its flag down.
    """

    def check(state: RolloutState) -> None:
        if not state.phase.under_way:
            raise _nothing_under_way(name)
        if state.hastened is not None:
            raise Usage(
                f"{state.hastened.actor} has asked for {name} everywhere already: the next tick does it"
            )
        if state.lowered is not None:
            raise Usage(f"{state.lowered.reason}", advice="Resume the release first, or take it back.")

    return _say(world, name, signature, check, Hastened, lambda _: {"reason": reason})


def retry(
    world: World, name: str, *, reason: str, signature: Signature, version: str | None = None
) -> RolledBack:
    """Let bytes that were taken back begin once more: the last ones, or those of `version`; the answer is what had
    been said of them. Git has to ask for them again. Raises Usage if there are none."""
    found: list[RolledBack] = []

    def choose(state: RolloutState) -> None:
        past = [
            each for each in state.quarantine.values() if each.bad and version in (None, each.bad.version)
        ]
        if not past:
            what = f"version {version} of {name}" if version else name
            raise Usage(f"nothing of {what} was taken back here", advice="`rollout history` shows what was.")
        found[:] = [max(past, key=lambda each: each.at)]

    def fields(_: RolloutState) -> dict[str, object]:
        assert found[0].bad is not None
        return {"identity": found[0].bad.identity, "reason": reason}

    _say(world, name, signature, choose, Retried, fields)
    return found[0]


def _say(
    world: World,
    name: str,
    signature: Signature,
    check: Callable[[RolloutState], None],
    kind: type[LedgerEvent],
    fields: Callable[[RolloutState], dict[str, object]],
) -> RolloutState:
    book = Book(world.ledger, name, signature)
    if not book.entries:
        raise Unreadable(f"the ledger of {world.environment.name} does not know {name!r}")
    for _ in range(_APPENDS):
        check(book.state)
        try:
            book.add(kind, world.clock.now(), **fields(book.state))
        except IllegalHistory:
            raise
        except LedgerConflict:
            book.reread()
        else:
            return book.state
    raise LedgerConflict(f"{_APPENDS} writers in a row were faster", advice="Run the command again.")


def _nothing_under_way(name: str) -> Usage:
    return Usage(f"no release of {name} is under way", advice=f"`rollout status {name}` says what is live.")
