"""What the judge remembers of one metric: sums, never requests. The same looks give the same sums, byte for byte.

Evidence of *harm* is multiplied on over all looks of a release's steps: each look is a stratum of its own, so that it
may. A part of the stake is kept for each later step, so that harm which begins late does not take long to show.
Evidence of *no worse* begins anew with every step, for a step asks whether the candidate is no worse at its own share:
what was proven at 5 % says nothing of how both fare at 50 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import AwareDatetime, Field

from rollout.core.judging.scored import Paired, Strata, Unpaired
from rollout.core.manifest import Document
from rollout.core.metric import (
    Clusters,
    Counts,
    Marks,
    Quantile,
    Test,
)
from rollout.core.stats import (
    ADVANCE_ODDS,
    HARM_ODDS,
    added,
    advance_increments,
    harm_increments,
    short,
    staked_anew,
)

Count = Annotated[int, Field(ge=0)]
_NO_HARM_YET = (0.0,) * len(HARM_ODDS)
FORGOTTEN_AFTER = 5
"""Bad requests that weigh as much as what is assumed of heaps before any is seen."""


class Heaps(Document):
    """Sums of an arm's Clusters."""

    total: Count = 0
    bad: Count = 0
    others: Count = 0
    alike: Count = 0

    def with_look(self, seen: Clusters) -> Heaps:
        """One look more."""
        return Heaps(
            total=self.total + seen.total,
            bad=self.bad + seen.bad,
            others=self.others + seen.others,
            alike=self.alike + seen.alike,
        )

    @property
    def fewest(self) -> int:
        """Bad requests from which on it is measured."""
        return FORGOTTEN_AFTER

    @property
    def seen(self) -> int:
        """On how many bad requests the size is measured."""
        return self.bad

    def size(self, *, at_first: float) -> float:
        """The mean size of the heap that a bad request is in, without what chance alone would put there.

        It is 1 where whose a request is does not tell whether it is bad, however often a unit asks, and as large as
        all that a unit asked where some units always fail and others never. `at_first` is what is assumed before bad
        requests are seen; it is forgotten as they come. Source: Kish, "Survey Sampling", 1965.
        """
        share = self.bad / self.total if self.total else 0.0
        beyond = (self.alike - share * self.others) / (1 - share) if share < 1 else 0.0
        return max(1.0, (self.bad + beyond + FORGOTTEN_AFTER * at_first) / (self.bad + FORGOTTEN_AFTER))


class Exceedance(Document):
    """Of one quantile: evidence, and how many answers were compared and marked for each question in this step."""

    quantile: Quantile
    harm: tuple[float, ...] = _NO_HARM_YET
    advance: tuple[float, ...] = (0.0,) * len(ADVANCE_ODDS)
    stable: Count = 0
    candidate: Count = 0
    harm_marked: tuple[Count, Count] = (0, 0)
    advance_marked: tuple[Count, Count] = (0, 0)
    observed: tuple[float, float] | None = Field(
        default=None, description="Means of the quantile over looks, weighted by answers, in milliseconds."
    )
    weight: Count = Field(default=0, description="Answers of the candidate that `observed` is from.")
    units: tuple[Heaps, Heaps] | None = Field(
        default=None,
        description="How the slowest of stable, and of the candidate, come in heaps in this canary.",
    )

    def with_marks(self, marks: Marks) -> Exceedance:
        """One stratum more. Strata of a look are disjoint, and so are looks: their evidence is multiplied."""
        stable, candidate = marks.stable, marks.candidate
        marked = (stable.bad, candidate.bad)
        if marks.test is Test.ADVANCE:
            grown = proof_grown(self.advance, stable, candidate, accepted=1.0)
            return self.model_copy(
                update={"advance": grown, "advance_marked": both(self.advance_marked, marked)}
            )
        return self.model_copy(
            update={
                "harm": harm_grown(self.harm, stable, candidate, tolerance=1.0),
                "harm_marked": both(self.harm_marked, marked),
                "stable": self.stable + stable.total,
                "candidate": self.candidate + candidate.total,
            }
        )

    def with_observed(self, stable: float | None, candidate: float | None, weight: int) -> Exceedance:
        """What people read, of one look more; nothing if one of them was not seen."""
        if stable is None or candidate is None or not weight:
            return self
        whole = self.weight + weight
        one, other = (
            short(mean + (value - mean) * weight / whole)
            for mean, value in zip(self.observed or (0.0, 0.0), (stable, candidate), strict=True)
        )
        return self.model_copy(update={"observed": (one, other), "weight": whole})

    def with_units(self, seen: tuple[Clusters, Clusters] | None) -> Exceedance:
        """How the slowest of one look more come in heaps; nothing if nobody knows."""
        return self.model_copy(update={"units": with_heaps(self.units, seen)})


class Evidence(Document):
    """The sums of one metric: all that the judge remembers.

    `log_e` (of a rate's harm) runs over the whole stage; the counts are those of the current state (shadow, or one
    step), because rates must not be pooled over steps whose shares differ. `bad` is what is worse: of a rate that is
    better when it is higher, the others. A field that is not there was not known to the version that wrote it.
    """

    log_e: tuple[float, ...] = Field(
        default=_NO_HARM_YET, min_length=len(HARM_ODDS), max_length=len(HARM_ODDS)
    )
    stable: Count = 0
    stable_bad: Count = 0
    candidate: Count = 0
    candidate_bad: Count = 0
    missing: Count = Field(default=0, description="Looks in a row in which an arm had no data.")
    heard_at: AwareDatetime | None = Field(
        default=None, description="The last look in which both arms had data."
    )
    stable_heard_at: AwareDatetime | None = None
    candidate_heard_at: AwareDatetime | None = None
    advance: tuple[float, ...] = Field(
        default=(), max_length=len(ADVANCE_ODDS), description="Of a rate's odds, in this step."
    )
    quantiles: tuple[Exceedance, ...] = Field(default=(), max_length=4)
    paired: Paired | None = None
    unpaired: Unpaired | None = None
    heaps: tuple[Count, Count] | None = Field(
        default=None,
        description="What versions before 0.6 kept of units; it is read, and nothing is judged by it.",
    )
    units: tuple[Heaps, Heaps] | None = Field(
        default=None,
        description="How bad requests of stable, and of the candidate, come in heaps in this canary.",
    )
    alone: tuple[Count, Count] = Field(
        default=(0, 0),
        description="The candidate's requests, and bad ones, in earlier times at 100 % of this release.",
    )
    earlier: Count = Field(default=0, description="Requests of the candidate in the steps before this one.")
    steps: Count = Field(default=0, description="Steps before this one whose evidence of harm it carries on.")

    def carried_into_next_step(self, *, alone: bool = False) -> Evidence:
        """The same evidence of harm, staked anew, with the counts and the proof begun anew.

        `alone` tells that the step was at 100 %, where counts are the evidence of harm.
        """
        return Evidence(
            log_e=staked_anew(self.log_e, self.steps),
            quantiles=tuple(
                Exceedance(quantile=each.quantile, harm=staked_anew(each.harm, self.steps), units=each.units)
                for each in self.quantiles
            ),
            paired=self.paired
            and Paired(harm=staked_anew(self.paired.harm, self.steps), alike=self.paired.alike),
            unpaired=self.unpaired and self.unpaired.model_copy(update={"step": Strata()}),
            units=self.units,
            alone=both(self.alone, (self.candidate, self.candidate_bad)) if alone else self.alone,
            earlier=self.earlier + self.candidate,
            steps=self.steps + 1,
        )


def harm_grown(
    before: Sequence[float], stable: Counts, candidate: Counts, *, tolerance: float
) -> tuple[float, ...]:
    """Evidence of harm with one look more, by its alternatives."""
    more = harm_increments(
        candidate=candidate.total,
        candidate_bad=candidate.bad,
        stable=stable.total,
        stable_bad=stable.bad,
        tolerance=tolerance,
    )
    return added(before, more)


def proof_grown(
    before: Sequence[float], stable: Counts, candidate: Counts, *, accepted: float
) -> tuple[float, ...]:
    """Evidence of no worse with one look more, by its alternatives; none before the first."""
    more = advance_increments(
        candidate=candidate.total,
        candidate_bad=candidate.bad,
        stable=stable.total,
        stable_bad=stable.bad,
        accepted=accepted,
    )
    return added(before or (0.0,) * len(more), more)


def with_heaps(
    before: tuple[Heaps, Heaps] | None, seen: tuple[Clusters, Clusters] | None
) -> tuple[Heaps, Heaps] | None:
    """The heaps of both arms with one look more; unchanged by one that knows of no units."""
    if seen is None:
        return before
    stable, candidate = before or (Heaps(), Heaps())
    return stable.with_look(seen[0]), candidate.with_look(seen[1])


def both(before: tuple[int, int], more: tuple[int, int]) -> tuple[int, int]:
    """The sums of two pairs of counts."""
    return before[0] + more[0], before[1] + more[1]
