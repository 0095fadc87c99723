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
    Rejected,
    Retried,
    RolledBack,
    RolloutState,
    Version,
)
from rollout.errors import LedgerConflict, RolloutError, Unreadable, Usage
from rollout.ports import World
from rollout.usecases.book import Book, Signature
from rollout.usecases.release import find_desire

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

    Nothing is proven then; shown harm still takes it back. Where none is under way, what git asks for begins with the
    next tick if it is evaluated and allowed, even if no server can load what is stable. Raises Usage if git asks for
    nothing new, or somebody else has turned the flag down.
    """
    desired = _desired(world, name)

    def check(state: RolloutState) -> None:
        if not state.phase.under_way:
            _check_may_begin(name, state, desired)
        if state.hastened is not None and not _is_about_another(state, desired):
            raise Usage(
                f"{state.hastened.actor} has asked for {name} everywhere already: the next tick does it"
            )
        if state.lowered is not None:
            raise Usage(f"{state.lowered.reason}", advice="Resume the release first, or take it back.")

    def fields(state: RolloutState) -> dict[str, object]:
        identity = desired.identity if desired is not None and not state.phase.under_way else None
        return {"reason": reason, "identity": identity}

    return _say(world, name, signature, check, Hastened, fields)


def _desired(world: World, name: str) -> Version | None:
    """What git asks for; a release that is under way is hastened even where git cannot be read."""
    try:
        desire = find_desire(world, name)
    except RolloutError:
        return None
    return desire.version if desire is not None else None


def _check_may_begin(name: str, state: RolloutState, desired: Version | None) -> None:
    if state.phase is Phase.PROMOTED or desired is None or not state.began:
        raise _nothing_under_way(name)
    if state.stable is not None and desired.identity == state.stable.identity:
        raise _nothing_under_way(name)
    if state.is_quarantined(desired.identity):
        raise Usage(
            f"{desired.served_name} was taken back here",
            advice=f"`rollout retry {name} -e ENV --reason TEXT` lets it begin once more.",
        )


def _is_about_another(state: RolloutState, desired: Version | None) -> bool:
    """Whether the last such word was about bytes that git does not ask for any more."""
    assert state.hastened is not None
    about = state.hastened.identity
    return not state.phase.under_way and desired is not None and about != desired.identity


def retry(
    world: World, name: str, *, reason: str, signature: Signature, version: str | None = None
) -> RolledBack | Rejected:
    """Let bytes begin once more that were taken back, or rejected: the last ones, or those of `version`; the answer is
    what had been said of them. Git has to ask for them. Raises Usage if there are none."""
    found: list[RolledBack | Rejected] = []

    def choose(state: RolloutState) -> None:
        past = [each for each in _refused(state) if version in (None, _subject(each).version)]
        if not past:
            what = f"version {version} of {name}" if version else name
            raise Usage(
                f"nothing of {what} was taken back or rejected here",
                advice=f"`rollout history {name} -e {world.environment.name}` shows what was.",
            )
        found[:] = [max(past, key=lambda each: each.at)]

    def fields(_: RolloutState) -> dict[str, object]:
        return {"identity": _subject(found[0]).identity, "reason": reason}

    _say(world, name, signature, choose, Retried, fields)
    return found[0]


def _refused(state: RolloutState) -> list[RolledBack | Rejected]:
    taken_back = [each for each in state.quarantine.values() if each.bad]
    return [*taken_back, *([state.rejected] if state.rejected else [])]


def _subject(refused: RolledBack | Rejected) -> Version:
    subject = refused.rejected if isinstance(refused, Rejected) else refused.bad
    assert subject is not None
    return subject


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
    return Usage(
        f"no release of {name} is under way", advice=f"`rollout status {name} -e ENV` says what is live."
    )
