"""Traffic that is let happen, look by look, for a simulation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from rollout.core.metric import MetricSpec, Samples, Stage
from rollout.core.plan import Share


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """The time of one look, in one stage, at one share of the candidate (of copies, in the shadow)."""

    stage: Stage
    share: Share
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What a slice showed of each metric, and how many requests of users the candidate answered in it."""

    samples: Sequence[Samples]
    met: int


class Traffic(Protocol):
    """Where requests come from. The same run of the same seed is the same traffic."""

    def begin(self, run: int, at: datetime) -> None:
        """A new run begins."""
        ...

    def play(self, specs: Sequence[MetricSpec], time: Slice) -> Played:
        """Let a slice happen."""
        ...
