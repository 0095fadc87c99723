"""What the judge remembers of scores: of pairs, and of means that nobody paired."""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum
from typing import Annotated

from pydantic import Field

from rollout.core.betting import STAKES, gain_increments, loss_increments
from rollout.core.manifest import Document
from rollout.core.metric import Alike, Moments
from rollout.core.stats import added, short

Count = Annotated[int, Field(ge=0)]


FEWEST_UNITS = 5
"""Units of which as many scores as of each other are an estimate of how like those of one unit are."""


class Likeness(Document):
    """Sums of what is told of how like scores of one unit are (see `Alike`), since the release's first look."""

    number: Count = 0
    sum: float = 0.0
    squares: float = 0.0
    others: Count = 0
    firsts: float = 0.0
    products: float = 0.0

    def with_look(self, seen: Alike) -> Likeness:
        """One look more."""
        return Likeness(
            number=self.number + seen.number,
            sum=short(self.sum + seen.sum),
            squares=short(self.squares + seen.squares),
            others=self.others + seen.others,
            firsts=short(self.firsts + seen.firsts),
            products=short(self.products + seen.products),
        )

    @property
    def fewest(self) -> int:
        """Units from which on it is measured."""
        return FEWEST_UNITS

    @property
    def seen(self) -> int:
        """As many units with as many scores each would tell as much, if all of a unit's were one."""
        return self.number * self.number // (self.number + self.others) if self.number else 0

    def size(self, *, at_first: float) -> float:
        """How often the variance of a sum of scores is what it were if each was of a unit of its own; never below 1.

        Products of what scores of one unit differ by from the mean are 0 on average where whose a score is does not
        tell how high it is. The mean is one of the same scores, so that few units seem less alike than they are, and
        all scores vary less about it: both are made good. With less than FEWEST_UNITS it is not below `at_first`.
        Sources: Kish, "Survey Sampling", 1965; Liang and Zeger, "Longitudinal data analysis using generalized linear
        models", 1986, whose sum over clusters it is, corrected for few as by Cameron and Miller, "A practitioner's
        guide to cluster-robust inference", 2015.
        """
        least = 1.0 if self.seen >= FEWEST_UNITS else at_first
        if not self.others:
            return least
        mean = self.sum / self.number
        varied = self.squares - self.number * mean * mean
        together = self.products - 2 * mean * self.firsts + mean * mean * self.others
        if varied <= 1e-9 * self.number:
            return least
        units = max(2.0, self.number * self.number / (self.number + self.others))
        times = max(0.0, 1 + together / varied) * units / (units - 1)
        return max(least, times / (1 + times / self.number))


def with_likeness(before: tuple[Likeness, ...], seen: Sequence[Alike]) -> tuple[Likeness, ...]:
    """Of each arm, or of the pairs, with one look more; unchanged by one that knows of no units."""
    if not seen:
        return before
    known = before or (Likeness(),) * len(seen)
    return tuple(each.with_look(more) for each, more in zip(known, seen, strict=True))


_Alike = Annotated[tuple[Likeness, ...], Field(exclude_if=lambda known: not known)]
"""Nothing where nobody knows of any units, as in what versions before this wrote."""


class Paired(Document):
    """Differences of pairs: evidence, and their number, sum and sum of squares in this step."""

    harm: tuple[float, ...] = (0.0,) * len(STAKES)
    advance: tuple[float, ...] = (0.0,) * len(STAKES)
    pairs: Count = 0
    sum: float = 0.0
    squares: float = 0.0
    alike: _Alike = Field(default=(), max_length=1)

    def with_pairs(self, differences: Sequence[float], *, tolerated: float, accepted: float) -> Paired:
        """So many pairs more, in any order."""
        return Paired(
            harm=added(self.harm, loss_increments(differences, tolerated)),
            advance=added(self.advance, gain_increments(differences, accepted)),
            pairs=self.pairs + len(differences),
            sum=short(self.sum + fsum(differences)),
            squares=short(self.squares + fsum(each * each for each in differences)),
            alike=self.alike,
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
    alike: _Alike = Field(default=(), max_length=2)

    def with_look(self, stable: Moments, candidate: Moments) -> Unpaired:
        """One look more."""
        return Unpaired(
            whole=self.whole.with_look(stable, candidate),
            step=self.step.with_look(stable, candidate),
            stable=self.stable.with_look(stable),
            candidate=self.candidate.with_look(candidate),
            alike=self.alike,
        )
