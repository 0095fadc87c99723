"""`history`: what happened to an adapter, as far back as somebody wants to know."""

from __future__ import annotations

from datetime import datetime

from rollout.core.lifecycle import LedgerEntry
from rollout.errors import Unreadable
from rollout.ports import ArtifactStore, Ledger
from rollout.usecases.ledgercheck import archived


def history(
    ledger: Ledger,
    name: str,
    *,
    since: datetime | None = None,
    limit: int | None = None,
    evidence: ArtifactStore | None = None,
) -> tuple[LedgerEntry, ...]:
    """The entries at or after `since`, the last `limit` of them, oldest first; with `evidence`, archived ones too.

    Raises Unreadable for an adapter that has no ledger.
    """
    ledger = ledger.still()
    entries = ledger.read(name)
    if not entries:
        raise Unreadable(
            f"the ledger does not know {name!r}",
            advice=f"It knows: {', '.join(ledger.names()) or 'none'}.",
        )
    if evidence is not None:
        entries = ledger.verify(name, before=archived(entries, evidence))
    found = tuple(entry for entry in entries if since is None or entry.event.at >= since)
    return found if limit is None else found[max(0, len(found) - limit) :]
