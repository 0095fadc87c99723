"""One adapter's ledger, opened: its entries, the state that they fold to, and the one way to add to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from rollout import __version__
from rollout.core.lifecycle import (
    IllegalHistory,
    LedgerEntry,
    LedgerEvent,
    RolloutState,
    apply,
    fold,
    next_entry,
)
from rollout.core.plain import plain
from rollout.errors import LedgerConflict, Unreadable
from rollout.ports import Ledger, World

E = TypeVar("E", bound=LedgerEvent)

_OTHERS_WORDS = {"reason": 2000, "by": 300}


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """Who acts, where, and in which run: the part that all events of one command share.

    Whatever name somebody goes by, what they do can be recorded: it is made plain.
    """

    actor: str
    environment: str
    run_url: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "actor", plain(self.actor, 300, nothing="unknown"))
        if self.run_url is not None:
            object.__setattr__(self, "run_url", plain(self.run_url, 300, nothing="") or None)


class Book:
    """The ledger of one adapter, as this process knows it.

    `add` succeeds only behind the entry that was read last; a faster writer is raised as LedgerConflict, and
    `reread` shows what they wrote.
    """

    def __init__(self, ledger: Ledger, name: str, signature: Signature) -> None:
        self._ledger = ledger
        self._signature = signature
        self.name = name
        self.entries: tuple[LedgerEntry, ...] = ()
        self.state = RolloutState()
        self.reread()

    def reread(self) -> RolloutState:
        """Read it anew; the answer is the state."""
        self.entries = self._ledger.read(self.name)
        self.state = fold(self.entries)
        return self.state

    def add(self, kind: type[E], now: datetime, **fields: Any) -> E:
        """Append one event of this kind. Raises LedgerConflict, and IllegalHistory before anything is written.

        What others said (a reason, a name at the flag) is made plain: nobody's words keep an event from being recorded.
        """
        for field, most in _OTHERS_WORDS.items():
            if isinstance(fields.get(field), str):
                fields[field] = plain(fields[field], most, nothing="unknown")
        event: Any = kind(
            at=now,
            actor=self._signature.actor,
            environment=self._signature.environment,
            name=self.name,
            tool=__version__,
            run_url=self._signature.run_url,
            **fields,
        )
        apply(self.state, next_entry(self.entries[-1] if self.entries else None, event))
        entry = self._ledger.append(self.name, event, after=self.state.head)
        self.entries = (*self.entries, entry)
        self.state = apply(self.state, entry)
        return event  # type: ignore[no-any-return]


_APPENDS = 20
_Said = tuple[type[LedgerEvent], dict[str, object]]


def say(
    world: World, name: str, signature: Signature, choose: Callable[[RolloutState], _Said | None]
) -> RolloutState:
    """Add what a person wants, by the state that it is added to: `choose` names kind and fields, or None for nothing.

    Whoever writes meanwhile is read first. Raises what `choose` raises, and Unreadable for a name without a ledger.
    """
    book = Book(world.ledger, name, signature)
    if not book.entries:
        raise Unreadable(f"the ledger of {world.environment.name} does not know {name!r}")
    for _ in range(_APPENDS):
        if (said := choose(book.state)) is None:
            return book.state
        kind, fields = said
        try:
            book.add(kind, world.clock.now(), **fields)
        except IllegalHistory:
            raise
        except LedgerConflict:
            book.reread()
        else:
            return book.state
    raise LedgerConflict(f"{_APPENDS} writers in a row were faster", advice="Run the command again.")
