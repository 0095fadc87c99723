"""How other systems decide, imitated as simply as their documents and sources say; limits are typical choices of ours.

One call a look with what its window showed, for many runs at once. A run is promoted (1), rolled back (-1) or goes on
(0). Absolute limits are multiples of what stable's truth is, as somebody would set them who knows it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from tests.support.watched import Table, Tally


@dataclass(frozen=True, slots=True)
class Window:
    """P95s (in multiples of stable's truth) and error rates of both arms in one look, by run."""

    stable_p95: Table
    candidate_p95: Table
    stable_errors: Table
    candidate_errors: Table


class Rule(Protocol):
    """How a system decides."""

    def decide(self, window: Window) -> Tally:
        """What it says after this look."""
        ...


@dataclass(slots=True)
class Flagger:
    """Any check within the limits moves on, six of them promote; the fifth that is not rolls back."""

    runs: int
    ratio: float
    errors: float
    good: Tally = field(init=False)
    failed: Tally = field(init=False)

    def __post_init__(self) -> None:
        self.good, self.failed = np.zeros((2, self.runs), dtype=np.int64)

    def decide(self, window: Window) -> Tally:
        """What it says after this look."""
        within = (window.candidate_p95 <= self.ratio) & (window.candidate_errors <= self.errors)
        self.good += within
        self.failed += ~within
        return np.where(self.failed >= 5, -1, np.where(self.good >= 6, 1, 0))


@dataclass(slots=True)
class Argo:
    """Twelve measurements of two metrics; more than three that fail of either roll back, otherwise they promote."""

    runs: int
    ratio: float
    errors: float
    taken: int = 0
    failed: Tally = field(init=False)

    def __post_init__(self) -> None:
        self.failed = np.zeros((2, self.runs), dtype=np.int64)

    def decide(self, window: Window) -> Tally:
        """What it says after this look."""
        self.taken += 1
        self.failed += np.array([window.candidate_p95 > self.ratio, window.candidate_errors > self.errors])
        over = np.full(self.runs, 1 if self.taken >= 12 else 0)
        return np.where((self.failed > 3).any(axis=0), -1, over)


@dataclass(slots=True)
class Kayenta:
    """Mann-Whitney on twelve points of each metric, 98 %, and a quarter of the estimated difference as its tolerance."""

    runs: int
    points: list[Window] = field(default_factory=list)

    def decide(self, window: Window) -> Tally:
        """What it says after this look: nothing before the twelfth."""
        self.points.append(window)
        if len(self.points) < 12:
            return np.zeros(self.runs, dtype=np.int64)
        pairs = (
            ([each.stable_p95 for each in self.points], [each.candidate_p95 for each in self.points]),
            ([each.stable_errors for each in self.points], [each.candidate_errors for each in self.points]),
        )
        high = [_is_high(np.array(stable), np.array(candidate)) for stable, candidate in pairs]
        # Half of the score is gone with either metric, and 75 is a usual least one.
        return np.where(np.logical_or(*high), -1, 1)


def _is_high(stable: Table, candidate: Table) -> Tally:
    """Whether the interval of Hodges and Lehmann lies above a quarter of its middle."""
    differences = (candidate[:, None, :] - stable[None, :, :]).reshape(-1, candidate.shape[1])
    differences.sort(axis=0)
    number = len(candidate)
    spread = (number * number * (2 * number + 1) / 12) ** 0.5
    place = max(0, round(number * number / 2 - 2.3263 * spread))
    middle = np.median(differences, axis=0)
    return np.asarray((middle > 0) & (differences[place] > 0.25 * np.abs(middle)))
