"""Evidence from scores: bets on differences of pairs, and a normal mixture on the difference of two means.

*Paired*: whoever bets a fixed part of his money on every pair cannot expect to gain while the null is true; a mixture of
several parts loses little against the best of them. It holds for any number of pairs and any distribution.
*Unpaired*: the same idea for means of many values, where a sum is nearly normal; not for less than FEWEST values an arm.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import erfc, fsum, log, log1p, pi, sqrt

STAKES = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 0.9)
"""Parts of the money that are bet on a pair, of what the worst pair could lose; equal weights."""
FEWEST = 100
"""Values of each arm below which a mean is not taken as normal."""
_TUNED_TO = 80.0
"""The mixture of means is narrowest around ten times as many values."""


def loss_increments(differences: Sequence[float], tolerated: float) -> tuple[float, ...]:
    """What pairs add to the log e-value of each stake against "the mean is at least -`tolerated`".

    Differences are candidate minus stable, from -1 to 1, in any order. Source: the diversified bets of Waudby-Smith and
    Ramdas, "Estimating means of bounded random variables by betting", 2024.
    """
    return tuple(
        fsum(log1p(-stake / (1 + tolerated) * (each + tolerated)) for each in differences) for stake in STAKES
    )


def gain_increments(differences: Sequence[float], accepted: float) -> tuple[float, ...]:
    """The same from the other side: against "the mean is at most -`accepted`"."""
    return tuple(
        fsum(log1p(stake / (1 - accepted) * (each + accepted)) for each in differences) for stake in STAKES
    )


def mean_log_e(distance: float, variance: float, weight: float) -> float:
    """log of the e-value against "the mean is at or below the null", that it is `distance` above of.

    `variance` is that of the mean, `weight` how many values it is worth. Asymptotic: the half-normal mixture of
    Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit theory and asymptotic confidence
    sequences", 2024.
    """
    spread = weight / _TUNED_TO
    z = distance / sqrt(variance) * sqrt(spread / (spread + 1))
    return log(2) - log1p(spread) / 2 + _tail(z)


def mean_half_width(variance: float, weight: float, alpha: float) -> float:
    """Half the width of the two-sided confidence sequence of a mean; the same source."""
    spread = weight / _TUNED_TO
    return sqrt(variance * 2 * (spread + 1) / spread * log(sqrt(spread + 1) / alpha))


def variance_of(number: float, total: float, squares: float) -> float:
    """Of values between 0 and 1, as if a 0 and a 1 more had been seen: values that are all equal are not certain."""
    mean = (total + 1) / (number + 2)
    return max((squares + 1) / (number + 2) - mean * mean, 0.0)


def _tail(z: float) -> float:
    """z^2 / 2 + log of the normal distribution at z, without overflow."""
    if z < -30:
        return -log(-z * sqrt(2 * pi))
    return z * z / 2 + log(erfc(-z / sqrt(2)) / 2)
