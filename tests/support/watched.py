"""Many releases watched at once: looks are drawn with numpy, what each adds to the evidence comes from the judge's tables.

Arrays are (runs, looks). Times are natural logarithms in units of their spread, so that a ratio is a shift.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil, log
from typing import TypeAlias

import numpy as np

from rollout.core.ratebounds import margin_log_e
from rollout.core.stats import ADVANCE_ODDS, HARM_ODDS, odds_increments

Table: TypeAlias = "np.ndarray[tuple[int, ...], np.dtype[np.float64]]"
Tally: TypeAlias = "np.ndarray[tuple[int, ...], np.dtype[np.int64]]"
Draw: TypeAlias = Callable[[np.random.Generator, tuple[int, int], int], Table]

SPREAD = 0.6
NEVER = 10**9
KEPT = 0.2
"""What the judge keeps back for later steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How many requests of (stable, candidate) a look has."""

    stable: int = 1900
    candidate: int = 100


@dataclass(slots=True)
class Process:
    """Evidence of many runs against one odds ratio: what the judge keeps in six sums, for each of them."""

    boundary: float
    multiples: Sequence[float]
    runs: int
    kept: float = 0.0
    sums: Table = field(init=False)
    _bases: dict[tuple[int, int, int], Table] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.sums = np.zeros((self.runs, len(self.multiples)))

    def add(self, look: Look, stable_bad: Tally, candidate_bad: Tally) -> None:
        """One look of every run."""
        bad = stable_bad + candidate_bad
        known, place = np.unique(bad, return_inverse=True)
        bases = np.array([self._base(look, int(each)) for each in known])
        told = (bad > 0) & (bad < look.stable + look.candidate)
        slopes = np.log(self.multiples)
        self.sums += np.where(told[:, None], candidate_bad[:, None] * slopes + bases[place], 0.0)

    @property
    def log_e(self) -> Table:
        """Of each run, as `harm_log_e` and `mixed_log_e` have it."""
        top = self.sums.max(axis=1, keepdims=True)
        mixed = np.asarray(top[:, 0] + np.log(np.exp(self.sums - top).mean(axis=1)))
        return np.logaddexp(mixed + log(1 - self.kept), log(self.kept)) if self.kept else mixed

    def _base(self, look: Look, bad: int) -> Table:
        key = (look.stable, look.candidate, bad)
        if key not in self._bases:
            self._bases[key] = np.array(
                odds_increments(
                    candidate=look.candidate,
                    candidate_bad=0,
                    stable=look.stable,
                    stable_bad=bad,
                    boundary=self.boundary,
                    multiples=self.multiples,
                )
            )
        return self._bases[key]


def harm_process(runs: int, tolerated: float = 1.0) -> Process:
    """Evidence of harm."""
    return Process(tolerated, HARM_ODDS, runs, kept=KEPT)


def proof_process(runs: int, accepted: float = 1.0) -> Process:
    """Evidence of no worse."""
    return Process(accepted, ADVANCE_ODDS, runs)


def first_crossing(looks: Iterator[Table], alpha: float) -> Tally:
    """Of each run the number of the first look whose evidence (a log) suffices; NEVER if none does."""
    found: Tally | None = None
    for number, log_e in enumerate(looks, start=1):
        if found is None:
            found = np.full(len(log_e), NEVER)
        found[(found == NEVER) & (log_e >= log(1 / alpha))] = number
        if (found < NEVER).all():
            break
    assert found is not None
    return found


def rates(
    generator: np.random.Generator,
    runs: int,
    looks: Sequence[tuple[Look, float, float]],
    process: Process,
) -> Iterator[Table]:
    """Evidence after each look of (sizes, stable's rate, candidate's rate)."""
    for look, theirs, own in looks:
        stable = generator.binomial(look.stable, theirs, runs)
        candidate = generator.binomial(look.candidate, own, runs)
        process.add(look, stable, candidate)
        yield process.log_e


def margins(
    generator: np.random.Generator, runs: int, looks: Sequence[tuple[Look, float, float]], margin: float
) -> Iterator[Table]:
    """The same of a difference of rates, over all of the looks so far."""
    sums = np.zeros((4, runs), dtype=np.int64)
    for look, theirs, own in looks:
        stable = generator.binomial(look.stable, theirs, runs)
        candidate = generator.binomial(look.candidate, own, runs)
        sums += np.array([np.full(runs, look.candidate), candidate, np.full(runs, look.stable), stable])
        yield np.array([_margin(column, margin) for column in sums.T.tolist()])


def _margin(column: Sequence[int], margin: float) -> float:
    candidate, candidate_bad, stable, stable_bad = column
    return margin_log_e(
        candidate=candidate,
        candidate_bad=candidate_bad,
        stable=stable,
        stable_bad=stable_bad,
        margin=margin,
    )


def scaled(ratio: float) -> Draw:
    """Lognormal times, `ratio` times as long."""
    return lambda generator, shape, _: _normal(generator, shape) + log(ratio) / SPREAD


def shaped(spread: float) -> Draw:
    """The same P95 with another spread."""
    return lambda generator, shape, _: (_normal(generator, shape) - 1.6449) * (spread / SPREAD) + 1.6449


def tailed(ratio: float) -> Draw:
    """Only what is slower than nine of ten takes longer: the median stays, the P95 does not."""

    def draw(generator: np.random.Generator, shape: tuple[int, int], _: int) -> Table:
        times = _normal(generator, shape)
        return times + (times > 1.2816) * (log(ratio) / SPREAD)

    return draw


def drifting(inner: Draw, shifts: Sequence[float]) -> Draw:
    """With what both arms have in common at each look."""
    return lambda generator, shape, number: inner(generator, shape, number) + shifts[number]


def _normal(generator: np.random.Generator, shape: tuple[int, int]) -> Table:
    return generator.standard_normal(shape, dtype=np.float32)  # type: ignore[return-value]


@dataclass(slots=True)
class Latencies:
    """Exceedances of many runs, of both questions: the same marks as those of `marks_of_values`."""

    runs: int
    quantiles: Sequence[float] = (0.5, 0.95)
    tolerated: float = 1.0
    accepted: float | None = None
    _harm: list[Process] = field(init=False)
    _proof: list[Process] = field(init=False)

    def __post_init__(self) -> None:
        self._harm = [harm_process(self.runs) for _ in self.quantiles]
        self._proof = [proof_process(self.runs) for _ in self.quantiles]

    def add(self, stable: Table, candidate: Table) -> None:
        """One look of every run; rows are runs."""
        questions = [(self._harm, self.tolerated)]
        if self.accepted is not None:
            questions.append((self._proof, self.accepted))
        look = Look(stable=stable.shape[1], candidate=candidate.shape[1])
        for processes, ratio in questions:
            own = candidate - np.float32(log(ratio) / SPREAD)
            for process, marked in zip(processes, self._marked(stable, own), strict=True):
                process.add(look, *marked)

    @property
    def harm(self) -> Table:
        """Averaged over quantiles."""
        each = np.array([process.log_e for process in self._harm])
        top = each.max(axis=0)
        return np.asarray(top + np.log(np.exp(each - top).mean(axis=0)))

    @property
    def proof(self) -> Table:
        """Of the quantile that has the least."""
        return np.asarray(np.min([process.log_e for process in self._proof], axis=0))

    def _marked(self, stable: Table, candidate: Table) -> list[tuple[Tally, Tally]]:
        everything = stable.shape[1] + candidate.shape[1]
        wanted = [ceil((1 - each) * everything - 1e-9) for each in self.quantiles]
        pooled = np.partition(
            np.concatenate([stable, candidate], axis=1), [everything - each for each in wanted], axis=1
        )
        found = []
        for each in wanted:
            own = (candidate >= pooled[:, everything - each, None]).sum(axis=1)
            found.append((each - own, own))
        return found


def latencies(
    generator: np.random.Generator,
    looks: Sequence[Look],
    arms: tuple[Draw, Draw],
    watched: Latencies,
    *,
    proof: bool = False,
) -> Iterator[Table]:
    """Evidence after each look of harm, or of no worse."""
    for number, look in enumerate(looks):
        stable = arms[0](generator, (watched.runs, look.stable), number)
        candidate = arms[1](generator, (watched.runs, look.candidate), number)
        watched.add(stable, candidate)
        yield watched.proof if proof else watched.harm
