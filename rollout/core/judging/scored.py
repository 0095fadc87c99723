"""What the judge remembers of scores: of pairs, and of means that nobody paired."""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum
from typing import Annotated

from pydantic import Field

from rollout.core.betting import STAKES, gain_increments, loss_increments
from rollout.core.manifest import Document
from rollout.core.metric import Moments
from rollout.core.stats import added, short

Count = Annotated[int, Field(ge=0)]


class Paired(Document):
    """Differences of pairs: evidence, and their number, sum and sum of squares in this step."""

    harm: tuple[float, ...] = (0.0,) * len(STAKES)
    advance: tuple[float, ...] = (0.0,) * len(STAKES)
    pairs: Count = 0
    sum: float = 0.0
    squares: float = 0.0

    def with_pairs(self, differences: Sequence[float], *, tolerated: float, accepted: float) -> Paired:
        """So many pairs more, in any order."""
        return Paired(
            harm=added(self.harm, loss_increments(differences, tolerated)),
            advance=added(self.advance, gain_increments(differences, accepted)),
            pairs=self.pairs + len(differences),
            sum=short(self.sum + fsum(differences)),
            squares=short(self.squares + fsum(each * each for each in differences)),
        )


class Strata(Document):
    """Differences of two means over looks, each look weighted by what its smaller arm can tell.

    `sum` is that of weight times difference; `stable` and `candidate` are what the variance of a value of that arm adds
    to the variance of `sum`.
    """

    weight: float = 0.0
    sum: float = 0.0
    stable: float = 0.0
    candidate: float = 0.0

    def with_look(self, stable: Moments, candidate: Moments) -> Strata:
        """One look more. An arm without a value tells nothing."""
        if not stable.number or not candidate.number:
            return self
        weight = 1 / (1 / stable.number + 1 / candidate.number)
        difference = candidate.sum / candidate.number - stable.sum / stable.number
        return Strata(
            weight=short(self.weight + weight),
            sum=short(self.sum + weight * difference),
            stable=short(self.stable + weight * weight / stable.number),
            candidate=short(self.candidate + weight * weight / candidate.number),
        )


class Values(Document):
    """How many values of an arm there are, their sum and that of their squares, over all steps."""

    number: Count = 0
    sum: float = 0.0
    squares: float = 0.0

    def with_look(self, seen: Moments) -> Values:
        """One look more."""
        return Values(
            number=self.number + seen.number,
            sum=short(self.sum + seen.sum),
            squares=short(self.squares + seen.squares),
        )


class Unpaired(Document):
    """Means of values that nobody paired: over all looks, those of this step, and how values of each arm vary."""

    whole: Strata = Strata()
    step: Strata = Strata()
    stable: Values = Values()
    candidate: Values = Values()

    def with_look(self, stable: Moments, candidate: Moments) -> Unpaired:
        """One look more."""
        return Unpaired(
            whole=self.whole.with_look(stable, candidate),
            step=self.step.with_look(stable, candidate),
            stable=self.stable.with_look(stable),
            candidate=self.candidate.with_look(candidate),
        )
