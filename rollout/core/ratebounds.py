"""Rates that are looked at all the time: their bounds, and evidence that two of them differ by less than a margin.

A *beta-binomial confidence sequence* bounds a rate at all times at once. Two of them make an *e-process of a
difference*, for which arms without any bad request are enough.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf, log, log1p

from rollout.core.stats import log_beta


def rate_bounds(bad: float, total: float, alpha: float) -> tuple[float, float]:
    """Bounds of a rate that hold at every look at once with probability 1 - alpha.

    Inverts the beta-binomial mixture martingale with a Beta(1/2, 1/2) prior. Source: Robbins 1970; Howard,
    Ramdas, McAuliffe and Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence sequences", 2021.
    No data gives (0, 1).
    """
    if total == 0:
        return 0.0, 1.0
    surprise_of = rate_surprise(bad, total)

    def surprise(p: float) -> float:
        return surprise_of(p) - log(1 / alpha)

    middle = bad / total
    low = 0.0 if bad == 0 else _crossing(surprise, 1e-12, middle)
    high = 1.0 if bad == total else _crossing(surprise, 1 - 1e-12, middle)
    return low, high


def rate_surprise(bad: float, total: float) -> Callable[[float], float]:
    """log of the e-value against each rate: the mixture's likelihood over that of the rate. `inf` where it cannot be."""
    mixture = log_beta(bad + 0.5, total - bad + 0.5) - log_beta(0.5, 0.5)
    good = total - bad

    def surprise(p: float) -> float:
        if (bad and p <= 0) or (good and p >= 1):
            return inf
        return mixture - (bad * log(p) if bad else 0.0) - (good * log1p(-p) if good else 0.0)

    return surprise


def difference_bounds(
    *, candidate: float, candidate_bad: float, stable: float, stable_bad: float, alpha: float
) -> tuple[float, float]:
    """Anytime-valid bounds of the candidate's rate minus the stable's, half of alpha for each arm."""
    candidate_low, candidate_high = rate_bounds(candidate_bad, candidate, alpha / 2)
    stable_low, stable_high = rate_bounds(stable_bad, stable, alpha / 2)
    return candidate_low - stable_high, candidate_high - stable_low


def margin_log_e(
    *, candidate: float, candidate_bad: float, stable: float, stable_bad: float, margin: float
) -> float:
    """log of the e-value against "the candidate's rate is above stable's by `margin` or more".

    Whatever stable's rate is, half the larger of the two arms' evidence against it (and against it plus the margin) is
    an e-value, and the least of these over all rates is one too. It is above 1 / alpha exactly where the upper limit
    of difference_bounds at alpha is below the margin.
    """
    against_candidate = rate_surprise(candidate_bad, candidate)
    against_stable = rate_surprise(stable_bad, stable)
    theirs, own = (stable_bad / stable if stable else 0.0), (candidate_bad / candidate if candidate else 1.0)
    if own >= theirs + margin:
        return max(against_candidate(own), against_stable(theirs)) - log(2)
    low, high = max(0.0, own - margin), min(theirs, 1 - margin)
    if against_stable(low) <= against_candidate(low + margin):
        return against_candidate(low + margin) - log(2)
    for _ in range(50):
        middle = (low + high) / 2
        if against_stable(middle) > against_candidate(middle + margin):
            low = middle
        else:
            high = middle
    return max(against_stable(high), against_candidate(high + margin)) - log(2)


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
