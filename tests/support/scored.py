"""Looks at scores of users who score high or low, or like the candidate, for reasons of their own.

So much of what scores vary by is the user's. Users come back in every look, or are others each time; each is put beside
what he had before, as the traffic log does it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from rollout.core.alike import alike, moments_by_unit
from rollout.core.judge import Evidence, judge, observe
from rollout.core.metric import Alike, Samples, Stage
from tests.core.judging import averaged, paired, score
from tests.support.watched import NEVER, Tally


class Arm:
    """Users of one arm, or of a shadow: each of `present` of them is asked `asks` times a look."""

    def __init__(
        self,
        generator: np.random.Generator,
        users: int,
        *,
        present: int | None = None,
        asks: int = 1,
        own: float = 0.3,
        mean: float = 0.6,
        spread: float = 0.15,
        stay: bool = True,
        least: float = 0.0,
    ) -> None:
        self._generator, self._users, self._asks, self._own = generator, users, asks, own
        self._present = users if present is None else present
        self._mean, self._spread, self._stay, self._least = mean, spread, stay, least
        self._drawn = 0
        self._persons = generator.standard_normal(users)
        self._before: dict[str, tuple[int, float]] = {}

    def look(self) -> tuple[list[float], Alike]:
        """Their scores in one look more, and how like each other those of one user are."""
        if not self._stay:
            self._persons = self._generator.standard_normal(self._users)
            self._drawn += 1
        everybody = self._present == self._users
        asked = (
            np.arange(self._users) if everybody else self._generator.integers(0, self._users, self._present)
        )
        asked = np.repeat(asked, self._asks)
        noise = self._generator.standard_normal(asked.size)
        drawn = self._own**0.5 * self._persons[asked] + (1 - self._own) ** 0.5 * noise
        values = np.clip(self._mean + self._spread * drawn, self._least, 1).tolist()
        units = moments_by_unit(
            (f"{self._drawn}-{user}", value) for user, value in zip(asked.tolist(), values, strict=True)
        )
        told = alike(units, {unit: self._before.get(unit, (0, 0.0)) for unit in units})
        for unit, own in units.items():
            number, total = self._before.get(unit, (0, 0.0))
            self._before[unit] = (number + own.number, total + own.sum)
        return values, told


@dataclass(slots=True)
class Means:
    """Looks at two arms that nobody paired."""

    stable: Arm
    candidate: Arm

    def looks(self, number: int) -> Iterator[Samples]:
        """So many looks."""
        for _ in range(number):
            (theirs, one), (ours, other) = self.stable.look(), self.candidate.look()
            yield replace(averaged(theirs, ours), alike=(one, other))


@dataclass(slots=True)
class Pairs:
    """Looks at differences of pairs."""

    both: Arm

    def looks(self, number: int) -> Iterator[Samples]:
        """So many looks."""
        for _ in range(number):
            values, told = self.both.look()
            yield replace(paired(*values), alike=(told,))


Scoring: TypeAlias = Callable[[np.random.Generator, float, float], Means | Pairs]
"""Users of whose scores so much varies by the user, and so much higher ones of the candidate."""


def pairs_of_users(generator: np.random.Generator, own: float, mean: float) -> Pairs:
    """Ten of a hundred users in each look; what both halves of a pair share is not in their difference."""
    return Pairs(Arm(generator, 100, present=10, asks=5, own=own, mean=mean, spread=0.17, least=-1))


def means_of(stable: int, candidate: int, **asked: Any) -> Scoring:
    """So many users of each arm in each look."""

    def looks(generator: np.random.Generator, own: float, mean: float) -> Means:
        theirs = Arm(generator, stable, own=own, **asked)
        return Means(theirs, Arm(generator, candidate, own=own, mean=0.6 + mean, **asked))

    return looks


def found_worse(
    generator: np.random.Generator, runs: int, users: Scoring, own: float, mean: float, *, alpha: float
) -> tuple[Tally, Tally]:
    """In which of 60 looks whoever knows no users found harm in each run, and whoever does."""
    found, spec = np.full((2, runs), NEVER), score(min_samples=100)
    for run in range(runs):
        known = [Evidence(), Evidence()]
        for number, look in enumerate(users(generator, own, mean).looks(60), 1):
            for place, seen in enumerate((replace(look, alike=()), look)):
                if found[place, run] < NEVER:
                    continue
                known[place] = observe(known[place], spec, seen)
                said = judge(spec, known[place], stage=Stage.CANARY, alpha=alpha, alpha_advance=alpha)
                if said.outcome == "fail":
                    found[place, run] = number
            if (found[:, run] < NEVER).all():
                break
    return found[0], found[1]
