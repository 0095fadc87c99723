"""Anytime-valid statistics of counts: numbers in, evidence out. Every look at them is allowed.

A *stratified hypergeometric e-process* tests an odds ratio from either side: each look is a stratum of its own, so that
drift, load and changing shares cancel out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import exp, inf, lgamma, log, sqrt

HARM_ODDS = (1.15, 1.3, 1.5, 2.0, 3.0, 5.0)
"""Alternatives of the harm test, as multiples of the tolerated odds ratio; equal weights."""
ADVANCE_ODDS = (0.3, 0.4, 0.5, 0.65, 0.77, 0.87)
"""Alternatives of the proof of no worse, as multiples of the accepted odds ratio; equal weights."""

_NEGLIGIBLE = 1e-17
_DIGITS = 12


def log_choose(n: int, k: int) -> float:
    """Natural logarithm of the binomial coefficient, -inf outside its support."""
    if not 0 <= k <= n:
        return -inf
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)


def log_sum_exp(values: Sequence[float]) -> float:
    """log of the sum of exponentials, without overflow."""
    top = max(values)
    if top == -inf:
        return -inf
    return top + log(sum(exp(value - top) for value in values))


def log_tilt(candidate: int, stable: int, bad: int, odds: float) -> float:
    """log E[odds^X] for X hypergeometric: how many of `bad` marks fall on the candidate by chance.

    This is the normaliser of Fisher's noncentral hypergeometric distribution. It is summed from its mode outwards, until
    what is left is nothing: the cost grows with the root of `bad`.
    """
    low, high = max(0, bad - stable), min(bad, candidate)
    mode = min(max(_mode(candidate, stable, bad, odds), low), high)
    at_mode = (
        log_choose(candidate, mode) + log_choose(stable, bad - mode) - log_choose(candidate + stable, bad)
    )
    spare = stable - bad
    whole = term = 1.0
    for x in range(mode, high):
        term *= odds * (candidate - x) * (bad - x) / ((x + 1) * (spare + x + 1))
        whole += term
        if term < _NEGLIGIBLE * whole:
            break
    term = 1.0
    for x in range(mode, low, -1):
        term *= x * (spare + x) / (odds * (candidate - x + 1) * (bad - x + 1))
        whole += term
        if term < _NEGLIGIBLE * whole:
            break
    return at_mode + mode * log(odds) + log(whole)


def _mode(candidate: int, stable: int, bad: int, odds: float) -> int:
    """Where Fisher's noncentral hypergeometric distribution is largest: each term is its neighbour times a ratio."""
    linear = odds * (candidate + bad + 2) + stable - bad
    constant = odds * (candidate + 1) * (bad + 1)
    return int(2 * constant / (linear + sqrt(linear * linear - 4 * (odds - 1) * constant)))


def odds_increments(
    *,
    candidate: int,
    candidate_bad: float,
    stable: int,
    stable_bad: float,
    boundary: float,
    multiples: Sequence[float],
) -> tuple[float, ...]:
    """What one look adds to the log e-value of each alternative, a multiple of the odds ratio `boundary`.

    Given both totals and the number of bad requests, the candidate's part is noncentral hypergeometric; the increment
    is the log likelihood ratio at the boundary. Under the null, the odds ratios on the other side of it, its exponential
    is 1 at most on average, by the monotone likelihood ratio. A look in which one arm is silent, or nothing or everything
    is bad, adds nothing. Only the sum of the bad ones must be whole: expected counts are allowed.

    Source: the conditional test is Fisher's; its use as an e-process over strata follows Ramdas, Grünwald,
    Vovk and Shafer, "Game-theoretic statistics and safe anytime-valid inference", 2023.
    """
    bad = round(candidate_bad + stable_bad)
    if not candidate or not stable or not bad or bad == candidate + stable:
        return (0.0,) * len(multiples)
    tilts = tilts_at(candidate, stable, bad, (boundary, *(boundary * multiple for multiple in multiples)))
    return tuple(
        candidate_bad * log(multiple) - (tilt - tilts[0])
        for multiple, tilt in zip(multiples, tilts[1:], strict=True)
    )


@lru_cache(maxsize=4096)
def tilts_at(candidate: int, stable: int, bad: int, odds: tuple[float, ...]) -> tuple[float, ...]:
    """log_tilt at each odds ratio. Looks of like size ask for the same ones again."""
    return tuple(log_tilt(candidate, stable, bad, each) for each in odds)


def harm_increments(
    *, candidate: int, candidate_bad: int, stable: int, stable_bad: int, tolerance: float
) -> tuple[float, ...]:
    """What one look adds to the log e-value of each of HARM_ODDS. The null: the odds ratio is at most `tolerance`."""
    return odds_increments(
        candidate=candidate,
        candidate_bad=candidate_bad,
        stable=stable,
        stable_bad=stable_bad,
        boundary=tolerance,
        multiples=HARM_ODDS,
    )


def advance_increments(
    *, candidate: int, candidate_bad: int, stable: int, stable_bad: int, accepted: float
) -> tuple[float, ...]:
    """What one look adds to the log e-value of each of ADVANCE_ODDS. The null: the odds ratio is at least `accepted`."""
    return odds_increments(
        candidate=candidate,
        candidate_bad=candidate_bad,
        stable=stable,
        stable_bad=stable_bad,
        boundary=accepted,
        multiples=ADVANCE_ODDS,
    )


def mixed_log_e(sums: Sequence[float]) -> float:
    """log of the equally weighted mixture of e-values whose logarithms are `sums`."""
    return log_sum_exp(sums) - log(len(sums))


_IN_PLAY = 0.8
"""The part of the judge's wealth that is staked on harm from the beginning; the rest waits for later steps."""


def staked_anew(sums: Sequence[float], steps: int) -> tuple[float, ...]:
    """Evidence of harm with a fresh stake on every alternative, behind `steps` earlier steps of the release.

    A long time without harm would have to be outweighed first by harm that begins late. So a part of the wealth is
    kept back, half of what is left of it for each step that follows: 0.1, 0.05, ... The whole is an e-process still.
    Source: restarts as in Shin, Ramdas and Rinaldo, "E-detectors", 2023.
    """
    stake = log((1 - _IN_PLAY) / _IN_PLAY / 2) - steps * log(2)
    return tuple(short(log_sum_exp((each, stake))) for each in sums)


def harm_log_e(sums: Sequence[float], steps: int) -> float:
    """log e-value of harm behind `steps` earlier steps: what is in play, and what is still kept back."""
    kept = log(1 - _IN_PLAY) - steps * log(2)
    # Rounded, so that nothing learned is exactly nothing.
    return round(log_sum_exp((mixed_log_e(sums) + log(_IN_PLAY), kept)), 9)


def log_beta(a: float, b: float) -> float:
    """Natural logarithm of the beta function."""
    return lgamma(a) + lgamma(b) - lgamma(a + b)


def added(before: Iterable[float], more: Iterable[float]) -> tuple[float, ...]:
    """Sums of evidence with one look more, kept short."""
    return tuple(short(old + new) for old, new in zip(before, more, strict=True))


def short(value: float) -> float:
    """To so many digits, that evidence stays small in a ledger and the same on every machine."""
    return float(f"{value:.{_DIGITS}g}")


def as_odds(log_e: float) -> str:
    """An e-value as people read it, from its logarithm: `340 : 1`."""
    if log_e > log(1e6):
        return "more than a million : 1"
    three = float(f"{exp(log_e):.3g}")
    return f"{three:,.0f} : 1" if three >= 100 else f"{three:g} : 1"
