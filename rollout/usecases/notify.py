"""Tell people, once each: what was told is in the ledger, and what could not be told is told by the next run."""

from __future__ import annotations

from rollout.core.lifecycle import Notified
from rollout.core.notice import Notice, notice_id, notice_of_state
from rollout.core.occasion import Occasion
from rollout.errors import LedgerConflict, RolloutError
from rollout.ports import World
from rollout.usecases.book import Book

_APPENDS = 20


def tell_of_state(world: World, book: Book) -> tuple[str, ...]:
    """Tell what the ledger's state has to tell; the answer says whom it could not be told, and why."""
    if not world.notifiers:
        return ()
    notice = notice_of_state(
        book.state, name=book.name, environment=world.environment.name, now=world.clock.now()
    )
    return () if notice is None else tell(world, book, notice)


def tell_of_waiting(
    world: World, book: Book, occasion: Occasion, reason: str, *, actor: str, run_url: str | None
) -> tuple[str, ...]:
    """Tell that a release waits for somebody: once for each state that it waits in.

    Where the ledger was lost nothing is added to what is not the ledger, so that every run tells it again.
    """
    if not world.notifiers:
        return ()
    state, environment = book.state, world.environment.name
    waits = "was stopped" if occasion is Occasion.HALTED else "waits longer than its plan allows"
    serving = state.stable.served_name if state.stable else None
    notice = Notice(
        id=notice_id(state, occasion, name=book.name, environment=environment),
        occasion=occasion,
        name=book.name,
        environment=environment,
        at=world.clock.now(),
        actor=actor,
        headline=f"the release of {book.name} in {environment} {waits}, and nothing goes on without a person",
        reason=reason,
        serving=serving,
        run_url=run_url,
    )
    return tell(world, book if state.began else None, notice)


def tell(world: World, book: Book | None, notice: Notice) -> tuple[str, ...]:
    """Send it to everybody who wants to know of it and was not told yet; without a book nobody knows who was.

    Each is sent before it is recorded: whoever dies in between tells it twice, by the same id, rather than never.
    """
    untold = []
    for notifier in world.notifiers:
        if notice.occasion not in notifier.occasions:
            continue
        if book is not None and book.state.is_told(notice.id, notifier.name):
            continue
        try:
            notifier.send(notice)
            if book is not None:
                _record(world, book, notice, notifier.name)
        except RolloutError as error:
            untold.append(f"{notifier.name}: {error.message}")
    return tuple(untold)


def _record(world: World, book: Book, notice: Notice, to: str) -> None:
    for _ in range(_APPENDS):
        try:
            book.add(Notified, world.clock.now(), notice=notice.id, to=to)
        except LedgerConflict:
            if book.reread().is_told(notice.id, to):
                return
        else:
            return
    raise LedgerConflict(f"{_APPENDS} writers in a row were faster", advice="Run the command again.")
