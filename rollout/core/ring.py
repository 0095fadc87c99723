"""A ring: users or tenants who are named, and get the candidate before anybody is drawn by chance."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from pydantic import StringConstraints

from rollout.core.share import Share

LARGEST_RING = 100
RING_KEY_PATTERN = r"^[!-~]{1,256}$"

# What a gateway reads from a header or a body, without what a person cannot see: a key that looks like another one.
RingKey = Annotated[str, StringConstraints(pattern=RING_KEY_PATTERN)]
Mark = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]

NOBODY: frozenset[str] = frozenset()

NAMED = "TARGET_MATCH"
"""Why a gateway gave a request the candidate whose user the flag names: such a request was not dealt at random."""


def marks(keys: Iterable[str]) -> frozenset[str]:
    """The keys as a ledger keeps them: enough to tell who was added or left, without their names.

    Whoever has a key can find it again: it is a digest without a secret.
    """
    return frozenset(hashlib.sha256(f"ring.{key}".encode()).hexdigest()[:16] for key in keys)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """Who gets the candidate: a ring, by its marks, and a share of everybody else."""

    share: Share
    ring: frozenset[str] = NOBODY

    def __str__(self) -> str:
        named = f"a ring of {len(self.ring)}" if self.ring else ""
        drawn = str(self.share) if self.share != Share.ZERO or not named else ""
        return " and ".join(each for each in (drawn, named) if each)

    @property
    def is_nobody(self) -> bool:
        """Whether no user with a key gets it."""
        return self.share == Share.ZERO and not self.ring

    @property
    def is_ring_alone(self) -> bool:
        """Whether only those who are named get it, so that chance decides nothing."""
        return self.share == Share.ZERO and bool(self.ring)

    def within(self, other: Reach) -> bool:
        """Whether everybody who gets it here gets it there too."""
        return other.share == Share.FULL or (self.share <= other.share and self.ring <= other.ring)

    def below(self, other: Reach) -> bool:
        """Whether some get it there who do not here, and nobody the other way round."""
        return self.within(other) and not other.within(self)
