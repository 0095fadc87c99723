"""The dial: what a flag says, in the terms of the product.

A flag has two slots and never versions: variation 0 is `stable`, variation 1 is `candidate`, stable first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from rollout.core.plan import Share
from rollout.core.ring import NOBODY, Reach, marks


class Slot(StrEnum):
    """Which of the two adapters a request is given."""

    STABLE = "stable"
    CANDIDATE = "candidate"


HIGHEST = 2**53
"""No version or revision is above this: it must stay exact wherever it is shown as a floating point number."""

SLOTS = (Slot.STABLE, Slot.CANDIDATE)
"""The variation order that every flag must have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagState:
    """What was read from the flag at `read_at`.

    `share` is the share of the fallthrough and `ring` the keys that are named, whether or not the flag is on;
    `effective` and `reach` are what requests get.
    `cohort` is a digest of all that decides who is drawn at a share (flag key, salt, kind of context, attribute): as
    long as it is the same, a user who was in stays in while the share grows. None where a store cannot tell.
    """

    key: str
    version: int
    on: bool
    share: Share
    changed_by: str
    read_at: datetime
    cohort: str | None = None
    ring: frozenset[str] = field(default=NOBODY, repr=False)

    @property
    def effective(self) -> Share:
        """The share of keyed requests that the candidate receives now."""
        return self.share if self.on else Share.ZERO

    @property
    def reach(self) -> Reach:
        """Who gets the candidate now."""
        return self.would_reach if self.on else Reach(share=Share.ZERO)

    @property
    def would_reach(self) -> Reach:
        """Who gets the candidate if it is on."""
        return Reach(share=self.share, ring=marks(self.ring))
