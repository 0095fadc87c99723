"""`ledger verify`: whether ledgers are what was written, entry by entry, archives too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rollout.core.lifecycle import Anchored, LedgerEntry, fold, verify_chain
from rollout.errors import LedgerConflict, Unreadable
from rollout.ports import ArtifactStore, Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerCheck:
    """What was found of one ledger. `archived` counts entries in archives, None where they were not looked at.

    `problem` is the first thing that is not in order, None if all is; what is counted then is in order too.
    """

    name: str
    entries: int = 0
    signed: int = 0
    archived: int | None = None
    head: str | None = None
    problem: str | None = None


def check_ledgers(
    ledger: Ledger, names: Sequence[str], *, evidence: ArtifactStore | None
) -> tuple[LedgerCheck, ...]:
    """One finding a name, or a ledger and a thing that is none where no name is given; never raises for a broken one.

    With `evidence`, archives are verified with what follows them. Raises Unreadable where there is nothing to verify.
    """
    ledger = ledger.still()
    found = [_check(ledger, name, evidence) for name in names or ledger.names()]
    if not names:
        found += (LedgerCheck(name=what, problem=why) for what, why in ledger.strays().items())
    if not found:
        raise Unreadable(
            "there is no ledger here: nothing was verified",
            advice="Look whether `ledger` in the environment document says where it is. The first command that"
            " changes something begins one.",
        )
    return tuple(found)


def _check(ledger: Ledger, name: str, evidence: ArtifactStore | None) -> LedgerCheck:
    try:
        entries = ledger.verify(name)
        if not entries:
            raise Unreadable("there is no such ledger")
        before = () if evidence is None else archived(entries, evidence)
        if before:
            ledger.verify(name, before=before)
        head = fold(entries).head
    except (LedgerConflict, Unreadable) as error:
        return LedgerCheck(name=name, problem=error.message)
    return LedgerCheck(
        name=name,
        entries=len(entries),
        signed=sum(entry.signature is not None for entry in (*before, *entries)),
        archived=None if evidence is None else len(before),
        head=head,
    )


def archived(entries: Sequence[LedgerEntry], evidence: ArtifactStore) -> tuple[LedgerEntry, ...]:
    """All entries that came before the first anchor, from the archives, oldest first.

    Raises Unreadable for an archive that is not there, LedgerConflict for one that did not lead to its anchor.
    """
    found: tuple[LedgerEntry, ...] = ()
    while entries and isinstance(anchor := entries[0].event, Anchored):
        entries = _opened(anchor, evidence)
        found = (*entries, *found)
    return found


def _opened(anchor: Anchored, evidence: ArtifactStore) -> tuple[LedgerEntry, ...]:
    lines = evidence.get(anchor.archive).decode(errors="replace").split("\n")[:-1]
    try:
        entries = tuple(LedgerEntry.parse(line) for line in lines)
    except ValueError:
        raise LedgerConflict(f"the archive {anchor.archive[:12]} holds what is no entry") from None
    last = entries[-1] if entries else None
    if last is None or (last.seq + 1, last.hash) != (anchor.entries, anchor.state.head):
        ends = f"{last.seq + 1} entries, the last {last.hash[:12]}" if last else "none"
        raise LedgerConflict(
            f"the archive {anchor.archive[:12]} holds {ends}; its anchor stands for {anchor.entries},"
            f" the last {(anchor.state.head or '')[:12]}"
        )
    verify_chain(entries)
    if any(
        (each.event.name, each.event.environment) != (anchor.name, anchor.environment) for each in entries
    ):
        raise LedgerConflict(f"the archive {anchor.archive[:12]} speaks of something else than {anchor.name}")
    if fold(entries) != anchor.state:
        raise LedgerConflict(
            f"the archive {anchor.archive[:12]} does not lead to the anchor that stands for it"
        )
    return entries
