"""Releases of users who stay in their arm and ask again and again: heaps as the traffic log tells them.

Arrays are (runs, users); every user asks once a look, so that what one had before is a matter of the look's number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil, log
from typing import TypeAlias

import numpy as np

from rollout.core.judging.balance import design_effect
from rollout.core.judging.evidence import Heaps
from rollout.core.metric import MetricSpec
from tests.support.watched import SPREAD, Look, Table, Tally, harm_process

Chances: TypeAlias = Callable[[np.random.Generator, tuple[int, int]], Table]


def failing(always: int, others: float) -> Chances:
    """So many users fail always, all others with a chance."""

    def draw(_: np.random.Generator, shape: tuple[int, int]) -> Table:
        chances = np.full(shape, others)
        chances[:, :always] = 1.0
        return chances

    return draw


def varying(mean: float, alike: float) -> Chances:
    """Each user has a chance of his own, the less alike the smaller `alike` is."""
    return lambda generator, shape: generator.beta(mean * alike, (1 - mean) * alike, shape)


@dataclass(slots=True)
class Sticky:
    """Users who were dealt to both arms once, and what the judge makes of whom it knows."""

    generator: np.random.Generator
    runs: int
    stable: Chances
    candidate: Chances | None = None
    share: float = 0.05
    users: int = 2000
    tolerated: float = 1.0

    def looks(self, spec: MetricSpec, number: int) -> Iterator[Table]:
        """Evidence of harm after each look."""
        shape, generator = (self.runs, self.users), self.generator
        size = round(self.users * self.share)
        # As many candidates in every run, so that looks of like size are worked out once.
        own = np.arange(self.users) < size
        order = generator.permuted(np.tile(np.arange(self.users), (self.runs, 1)), axis=1)
        chances = np.take_along_axis(self.stable(generator, shape), order, axis=1)
        if self.candidate is not None:
            chances[:, own] = np.maximum(chances[:, own], self.candidate(generator, (self.runs, size)))
        process, before = harm_process(self.runs, self.tolerated), np.zeros(shape)
        sums = np.zeros((2, 4, self.runs), dtype=np.int64)
        for look in range(number):
            bad = (generator.random(shape, dtype=np.float32) < chances).astype(np.int64)
            counts = [bad[:, ~own].sum(axis=1), bad[:, own].sum(axis=1)]
            for arm, users in enumerate((~own, own)):
                sums[arm, 0] += users.sum()
                sums[arm, 1] += counts[arm]
                sums[arm, 2] += 2 * look * counts[arm]
                sums[arm, 3] += (2 * bad[:, users] * before[:, users]).sum(axis=1).astype(np.int64)
            before += bad
            process.add(Look(stable=self.users - size, candidate=size), *counts)
            yield process.log_e / _effects(spec, sums)


def _effects(spec: MetricSpec, sums: Tally) -> Table:
    """As the judge has them."""
    return np.array(
        [design_effect(spec, (_of(run[0]), _of(run[1]))) for run in sums.transpose(2, 0, 1).tolist()]
    )


def _of(sums: list[int]) -> Heaps:
    total, bad, others, alike = sums
    return Heaps.model_construct(total=total, bad=bad, others=others, alike=alike)


def retried(
    generator: np.random.Generator, runs: int, spec: MetricSpec, number: int, rate: float = 0.01
) -> Iterator[Table]:
    """Clients that retry, in heaps of three on average, so that a fifth of what is seen says something of its own."""
    process, sums, sizes = harm_process(runs), np.zeros((2, 4, runs), dtype=np.int64), (1900, 100)
    for _ in range(number):
        counts = []
        for arm, size in enumerate(sizes):
            clients = generator.binomial(size, rate / 3, runs)
            heaps = [generator.geometric(1 / 3, each) for each in clients]
            bad = np.array([min(int(heap.sum()), size) for heap in heaps])
            alike = np.array([(heap * (heap - 1)).sum() for heap in heaps])
            sums[arm] += np.array([np.full(runs, size), bad, alike, alike])
            counts.append(bad)
        process.add(Look(stable=sizes[0], candidate=sizes[1]), *counts)
        yield process.log_e / _effects(spec, sums)


@dataclass(slots=True)
class Slow:
    """Times of users who are slow or quick for reasons of their own: so much of what their logarithms vary by is theirs.

    Each asks `asks` times in a look. Users come back in every look, or are others each time. What one had before is
    marked as it was in its look: times are of one distribution throughout.
    """

    generator: np.random.Generator
    runs: int
    own: float = 0.3
    asks: int = 1
    share: float = 0.05
    users: int = 2000
    return_: bool = True
    ratio: float = 1.0
    quantiles: tuple[float, ...] = (0.5, 0.95)

    def looks(self, spec: MetricSpec, number: int) -> Iterator[tuple[Table, Table]]:
        """Evidence of harm after each look: each request by itself, and as the judge has it that knows the users."""
        size = round(self.users * self.share)
        look = Look(stable=(self.users - size) * self.asks, candidate=size * self.asks)
        processes = [harm_process(self.runs) for _ in self.quantiles]
        sums = np.zeros((len(self.quantiles), 2, 4, self.runs), dtype=np.int64)
        before = np.zeros((len(self.quantiles), self.runs, self.users), dtype=np.int32)
        persons = self._persons()
        everything = self.users * self.asks
        wanted = [ceil((1 - each) * everything - 1e-9) for each in self.quantiles]
        for past in range(number):
            shape = (self.runs, self.users, self.asks)
            noise = self.generator.standard_normal(shape, dtype=np.float32)
            times = persons[:, :, None] * np.float32(self.own**0.5) + noise * np.float32(
                (1 - self.own) ** 0.5
            )
            times[:, :size] += np.float32(log(self.ratio) / SPREAD)
            pooled = np.partition(
                times.reshape(self.runs, -1), [everything - each for each in wanted], axis=1
            )
            for place, most in enumerate(wanted):
                marked = (times >= pooled[:, everything - most, None, None]).sum(axis=2, dtype=np.int32)
                own = marked[:, :size].sum(axis=1, dtype=np.int64)
                for arm, users in enumerate((slice(size, None), slice(0, size))):
                    bad = marked[:, users].astype(np.int64)
                    had = 2 * past * self.asks if self.return_ else 0
                    theirs = 2 * before[place][:, users] if self.return_ else 0
                    sums[place, arm] += [
                        np.full(self.runs, bad.shape[1] * self.asks),
                        bad.sum(axis=1),
                        bad.sum(axis=1) * (self.asks - 1 + had),
                        (bad * (bad - 1 + theirs)).sum(axis=1),
                    ]
                before[place] += marked
                processes[place].add(look, most - own, own)
            if not self.return_:
                persons = self._persons()
            single = np.array([each.log_e for each in processes])
            effects = np.array([_effects(spec, each) for each in sums])
            yield _averaged(single), _averaged(single) / effects.max(axis=0)

    def _persons(self) -> Table:
        return self.generator.standard_normal((self.runs, self.users), dtype=np.float32)  # type: ignore[return-value]


def _averaged(logs: Table) -> Table:
    top = logs.max(axis=0)
    return np.asarray(top + np.log(np.exp(logs - top).mean(axis=0)))
