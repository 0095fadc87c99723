"""A rollback that was done while the ledger could not take it in: what the ledger is to be told once it can."""

from __future__ import annotations

from pydantic import AwareDatetime

from rollout.core.lifecycle import RolloutState
from rollout.core.manifest import Document, Line, Name, Text


class Unrecorded(Document):
    """One such rollback. `flag_written_at` is when users were made safe, null where the flag did not answer either."""

    name: Name
    environment: Name
    at: AwareDatetime
    actor: Line
    reason: Text
    automatic: bool
    incident: Line | None = None
    flag_written_at: AwareDatetime | None = None


def still_to_be_recorded(told: Unrecorded, state: RolloutState) -> bool:
    """Whether the release that was taken back is under way still, as far as the ledger knows: it began before."""
    return state.started is not None and state.started.at <= told.at
