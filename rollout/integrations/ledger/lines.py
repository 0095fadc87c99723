"""What every ledger has in common, wherever its lines lie: what they may say, and whose turn it is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePath

from pydantic import ValidationError

from rollout.core.lifecycle import Anchored, BrokenChain, LedgerEntry, verify_chain
from rollout.core.manifest import NAME_PATTERN
from rollout.durable import exclusive
from rollout.errors import Busy, LedgerConflict, Unsupported, Usage

NO_LEDGER = "this is no ledger: nothing but rollout writes there; look for who did, and take it away"
_LONGEST_LINE = 1 << 20
_NAME = re.compile(NAME_PATTERN)


def is_name(name: str) -> bool:
    """Whether an adapter can be called so."""
    return _NAME.fullmatch(name) is not None


def require_name(name: str) -> str:
    """The name itself, which can then be a part of a path. Raises Usage."""
    if not is_name(name):
        raise Usage(f"{name!r} is not an adapter name")
    return name


def shown(path: PurePath) -> str:
    """A path as it may be told: what a file is called there, whoever can write may choose."""
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in str(path)
    )


def parse(lines: Sequence[bytes], *, name: str, environment: str, place: str) -> tuple[LedgerEntry, ...]:
    """The entries that whole lines hold. Raises LedgerConflict for what is none, or speaks of something else.

    `place` names the file in what is raised; lines are counted from 1.
    """
    return tuple(
        _entry(line, name, environment, f"{place}, line {number}") for number, line in enumerate(lines, 1)
    )


def chained(entries: Sequence[LedgerEntry], place: Callable[[int], str]) -> tuple[LedgerEntry, ...]:
    """The same, if they are one chain. Raises BrokenChain, which names the place of the first that is out of it."""
    try:
        verify_chain(entries)
    except BrokenChain as error:
        raise BrokenChain(error.number, error.entry, place(error.number)) from None
    return tuple(entries)


def _entry(line: bytes, name: str, environment: str, place: str) -> LedgerEntry:
    try:
        entry = LedgerEntry.parse(line.decode())
    except ValueError as error:
        why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else "it is no UTF-8"
        raise _foreign(name, place, f"cannot be read: {why}") from None
    event = entry.event
    if (event.name, event.environment) != (name, environment):
        raise _foreign(name, place, f"speaks of {event.name} in {event.environment}")
    return entry


def _foreign(name: str, place: str, what: str) -> LedgerConflict:
    return LedgerConflict(
        f"an entry of the ledger of {name} {what} ({place})",
        advice="Do not edit the ledger; restore it from its backup. `rollout ledger verify -e ENV` shows"
        " what is broken.",
    )


def require_last(name: str, last: LedgerEntry | None, after: str | None) -> None:
    """Raise LedgerConflict unless `last` is the entry that a writer wants to follow."""
    if (last.hash if last else None) != after:
        raise LedgerConflict(
            f"another writer appended to the ledger of {name} first", advice="Run the command again."
        )


def require_anchor(event: Anchored, last: LedgerEntry | None) -> None:
    """Raise Usage unless an anchor stands for exactly what is there."""
    if last is None or (event.state.head, event.entries) != (last.hash, last.seq + 1):
        raise Usage("an anchor stands for all entries that are there, and for no others")


def require_size(entry: LedgerEntry) -> LedgerEntry:
    """The same, if it can be read again. Raises Unsupported for a line that no ledger takes."""
    size = len(entry.line.encode())
    if size > _LONGEST_LINE:
        raise Unsupported(
            f"an entry of {size:,} bytes is more than the ledger of {entry.event.name} takes ({_LONGEST_LINE:,})",
            advice="Nothing was written. Say it in fewer words; what is long belongs into the evidence.",
        )
    return entry


@contextmanager
def lease(folder: Path, name: str) -> Iterator[None]:
    """Be the only tick on this machine. The kernel ends the lease with the process, however that dies."""
    with ExitStack() as held:
        try:
            held.enter_context(exclusive(folder / f"{require_name(name)}.tick", wait_s=0))
        except Busy:
            raise Busy(
                f"another tick of {name} is running here", advice="Wait for it, or run the command again."
            ) from None
        yield
