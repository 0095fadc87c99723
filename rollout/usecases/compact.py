"""`compact`: a long history becomes one anchor, and what it stands for is kept as evidence."""

from __future__ import annotations

from dataclasses import replace

from rollout import __version__
from rollout.core.lifecycle import Anchored, LedgerEntry, fold, next_entry
from rollout.errors import Busy, Unreadable
from rollout.ports import ArtifactStore, Clock, Ledger
from rollout.usecases.book import Book, Signature


def compact(
    name: str, *, ledger: Ledger, evidence: ArtifactStore, clock: Clock, signature: Signature
) -> LedgerEntry | None:
    """Archive all entries of an adapter and put one anchor in their place; None if there is nothing to gain.

    Raises Busy while a release is under way: its looks and steps stay where they can be seen.
    """
    with ledger.lease(name):
        book = Book(ledger, name, signature)
        if not book.entries:
            raise Unreadable(
                f"the ledger does not know {name!r}",
                advice=f"`rollout status -e {signature.environment}` lists whom it knows.",
            )
        if not book.state.at_rest:
            raise Busy(
                f"{name} is {book.state.phase}: its history is not folded before that has come to its end",
                advice="Compact it when its release is settled, or taken back and verified.",
            )
        if len(book.entries) == 1:
            return None
        last = book.entries[-1]
        # What the anchor stands for is safe before anything is replaced.
        archive = evidence.put("".join(f"{entry.line}\n" for entry in book.entries).encode())
        anchor = Anchored(
            at=clock.now(),
            actor=signature.actor,
            environment=signature.environment,
            name=name,
            tool=__version__,
            run_url=signature.run_url,
            entries=last.seq + 1,
            archive=archive,
            state=book.state,
        )
        stored = LedgerEntry.parse(next_entry(last, anchor).line)
        assert replace(fold([stored]), head=last.hash) == book.state
        return ledger.anchor(name, anchor, after=last.hash)
