"""Made-up traffic: requests as they come by chance, with rates, times and scores as somebody asks for.

Times are lognormal and independent of each other, scores normal about 0.8 between 0 and 1. Real traffic comes in
heaps; so what is found here is found about as soon, or later, there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import log
from statistics import NormalDist
from typing import TYPE_CHECKING

from rollout.core.forecast import LATENCY_SPREAD, SCORE_SPREAD
from rollout.core.metric import Counts, Direction, Event, Kind, MetricSpec, Moments, Samples, Stage
from rollout.core.played import Played, Slice
from rollout.core.seen import pairs_seen, scores_seen, times_seen

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

_USUAL_MS = 800.0
_USUAL_SCORE = 0.8
_NOBODY = Counts(total=0, bad=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What traffic is made of. `rates` are (stable, candidate) by metric; `errors` that of errors.

    `latency_ms` is stable's median; the candidate takes `slower` times as long and scores `lower` less. Slow answers
    follow from the latency, where that is given.
    """

    per_second: float
    errors: tuple[float, float] = (0.0, 0.0)
    rates: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    latency_ms: float | None = None
    slower: float = 1.0
    lower: float = 0.0

    def rates_of(self, spec: MetricSpec) -> tuple[float, float]:
        """(stable, candidate)"""
        if spec.id in self.rates:
            return self.rates[spec.id]
        if spec.event is Event.ERROR:
            return self.errors
        if spec.event is Event.SLOW and self.latency_ms is not None and spec.slow_after_ms is not None:
            return self._beyond(spec.slow_after_ms, 1.0), self._beyond(spec.slow_after_ms, self.slower)
        good = float(spec.direction is Direction.HIGHER)
        return good, good

    def median_ms(self, *, candidate: bool) -> float:
        """Of an arm's times."""
        return (self.latency_ms or _USUAL_MS) * (self.slower if candidate else 1.0)

    def _beyond(self, limit_ms: float, slower: float) -> float:
        assert self.latency_ms is not None
        return 1 - NormalDist().cdf(log(limit_ms / (self.latency_ms * slower)) / LATENCY_SPREAD)


class SyntheticTraffic:
    """Traffic of a recipe, the same for the same seed and run."""

    def __init__(self, recipe: Recipe, *, seed: int) -> None:
        self._recipe = recipe
        self._seed = seed
        self._chance: numpy.random.Generator

    def begin(self, run: int, at: datetime) -> None:  # noqa: ARG002 - made up, whatever day it is
        """Chance of its own for each run."""
        import numpy

        self._chance = numpy.random.default_rng((self._seed, run))

    def play(self, specs: Sequence[MetricSpec], time: Slice) -> Played:
        """As many requests as come by chance, dealt one by one."""
        seconds = (time.until - time.since).total_seconds()
        number = int(self._chance.poisson(self._recipe.per_second * seconds))
        chosen = int(self._chance.binomial(number, time.share.fraction))
        if time.stage is Stage.SHADOW:
            return Played(samples=[self._of_pairs(spec, chosen) for spec in specs], met=0)
        return Played(samples=[self._of_arms(spec, number - chosen, chosen) for spec in specs], met=chosen)

    def _of_pairs(self, spec: MetricSpec, pairs: int) -> Samples:
        if spec.kind is not Kind.SCORE:
            return self._of_arms(spec, pairs, pairs)
        both = self._scores(pairs, 0.0), self._scores(pairs, self._recipe.lower)
        return pairs_seen(spec, list(zip(*both, strict=True)), since="0", until="0")

    def _of_arms(self, spec: MetricSpec, stable: int, candidate: int) -> Samples:
        if spec.kind is Kind.LATENCY:
            times = self._times(stable, candidate=False), self._times(candidate, candidate=True)
            return times_seen(spec, *times, since="0", until="0")
        if spec.kind is Kind.SCORE:
            moments = (
                _moments(self._scores(stable, 0.0)),
                _moments(self._scores(candidate, self._recipe.lower)),
            )
            return scores_seen(spec, *moments, since="0", until="0")
        rates = self._recipe.rates_of(spec)
        return Samples(
            metric=spec.id,
            since="0",
            until="0",
            stable=self._counts(stable, rates[0]),
            candidate=self._counts(candidate, rates[1]),
        )

    def _counts(self, number: int, rate: float) -> Counts:
        return Counts(total=number, bad=int(self._chance.binomial(number, rate))) if number else _NOBODY

    def _times(self, number: int, *, candidate: bool) -> list[tuple[float, int | None]]:
        middle = log(self._recipe.median_ms(candidate=candidate))
        return [(float(each), None) for each in self._chance.lognormal(middle, LATENCY_SPREAD, number)]

    def _scores(self, number: int, lower: float) -> NDArray[numpy.float64]:
        return self._chance.normal(_USUAL_SCORE - lower, SCORE_SPREAD, number).clip(0.0, 1.0)


def _moments(scores: NDArray[numpy.float64]) -> Moments:
    return Moments(number=len(scores), sum=float(scores.sum()), squares=float((scores * scores).sum()))
