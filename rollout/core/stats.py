"""Anytime-valid statistics of counts: numbers in, evidence out. Every look at them is allowed.

Two tools. A *stratified hypergeometric e-process* tests whether the candidate's odds of a bad request exceed
the stable's by more than a tolerated ratio: each look is a stratum of its own, so that drift, load and changing
shares cancel out. A *beta-binomial confidence sequence* bounds a rate at all times at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import exp, inf, lgamma, log

HARM_ODDS = (1.15, 1.3, 1.5, 2.0, 3.0, 5.0)
"""Alternatives of the harm test, as multiples of the tolerated odds ratio; equal weights."""


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

    This is the normaliser of Fisher's noncentral hypergeometric distribution. Cost is linear in `bad`.
    """
    low, high = max(0, bad - stable), min(bad, candidate)
    all_ways = log_choose(candidate + stable, bad)
    weight = log(odds)
    return log_sum_exp(
        [
            log_choose(candidate, x) + log_choose(stable, bad - x) - all_ways + x * weight
            for x in range(low, high + 1)
        ]
    )


def harm_increments(
    *, candidate: int, candidate_bad: int, stable: int, stable_bad: int, tolerance: float
) -> tuple[float, ...]:
    """What one look adds to the log e-value of each alternative of HARM_ODDS.

    Null hypothesis: the odds ratio of candidate to stable is at most `tolerance`. Given both totals and the
    number of bad requests, the candidate's part is noncentral hypergeometric; the increment is the log
    likelihood ratio at its boundary, whose expectation under the null is at most 1 by its monotone likelihood
    ratio. A look in which one arm is silent, or nothing or everything is bad, adds nothing.

    Source: the conditional test is Fisher's; its use as an e-process over strata follows Ramdas, Grünwald,
    Vovk and Shafer, "Game-theoretic statistics and safe anytime-valid inference", 2023.
    """
    bad = candidate_bad + stable_bad
    if not candidate or not stable or not bad or bad == candidate + stable:
        return (0.0,) * len(HARM_ODDS)
    boundary = log_tilt(candidate, stable, bad, tolerance)
    return tuple(
        candidate_bad * log(multiple) - (log_tilt(candidate, stable, bad, tolerance * multiple) - boundary)
        for multiple in HARM_ODDS
    )


def mixed_log_e(sums: Sequence[float]) -> float:
    """log of the equally weighted mixture of e-values whose logarithms are `sums`."""
    return log_sum_exp(sums) - log(len(sums))


def rate_bounds(bad: int, total: int, alpha: float) -> tuple[float, float]:
    """Bounds of a rate that hold at every look at once with probability 1 - alpha.

    Inverts the beta-binomial mixture martingale with a Beta(1/2, 1/2) prior. Source: Robbins 1970; Howard,
    Ramdas, McAuliffe and Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence sequences", 2021.
    No data gives (0, 1).
    """
    if total == 0:
        return 0.0, 1.0
    mixture = log_beta(bad + 0.5, total - bad + 0.5) - log_beta(0.5, 0.5)

    def surprise(p: float) -> float:
        likelihood = (bad * log(p) if bad else 0.0) + ((total - bad) * log(1 - p) if total > bad else 0.0)
        return mixture - likelihood - log(1 / alpha)

    middle = bad / total
    low = 0.0 if bad == 0 else _crossing(surprise, 1e-12, middle)
    high = 1.0 if bad == total else _crossing(surprise, 1 - 1e-12, middle)
    return low, high


def difference_bounds(
    *, candidate: int, candidate_bad: int, stable: int, stable_bad: int, alpha: float
) -> tuple[float, float]:
    """Anytime-valid bounds of the candidate's rate minus the stable's, half of alpha for each arm."""
    candidate_low, candidate_high = rate_bounds(candidate_bad, candidate, alpha / 2)
    stable_low, stable_high = rate_bounds(stable_bad, stable, alpha / 2)
    return candidate_low - stable_high, candidate_high - stable_low


def log_beta(a: float, b: float) -> float:
    """Natural logarithm of the beta function."""
    return lgamma(a) + lgamma(b) - lgamma(a + b)


def _crossing(surprise: Callable[[float], float], outside: float, inside: float) -> float:
    """Where `surprise` falls to zero between a point outside the interval and one inside, rounded outwards."""
    if surprise(outside) <= 0:
        return round(outside)
    for _ in range(60):
        middle = (outside + inside) / 2
        if surprise(middle) > 0:
            outside = middle
        else:
            inside = middle
    return outside


def as_odds(log_e: float) -> str:
    """An e-value as people read it, from its logarithm: `340 : 1`."""
    if log_e > log(1e6):
        return "more than a million : 1"
    return f"{exp(log_e):.3g} : 1"
