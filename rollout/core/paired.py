"""Statistics of paired answers: the same item, answered by the champion and by the candidate.

Effects are candidate minus champion, so that a positive effect of a metric where more is better is a gain.
Randomness comes from a seed that the caller gives; the generator is one whose stream numpy keeps frozen, so
that a stored report gives the same verdict years later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import ceil, comb, floor, isclose, log, sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING

from rollout.core.verdict import Interval

if TYPE_CHECKING:
    import numpy as np

RESAMPLES = 10_000
_CHUNK = 2_000_000
_MOST_ITEMS = 10_000_000


def exact_drop(lost: int, gained: int) -> float:
    """McNemar's exact one-sided p-value: how often chance alone loses `lost` or more of all changed items.

    `lost` items were right in the champion and wrong in the candidate, `gained` the other way round. Without
    any change it is 1. Source: McNemar, Psychometrika 12 (1947), in its exact binomial form.
    """
    changed = lost + gained
    return sum(comb(changed, k) for k in range(lost, changed + 1)) / (1 << changed)


def score_interval(lost: float, gained: float, items: float, confidence: float) -> Interval:
    """Two-sided interval of the paired difference of two rates, (gained - lost) / items.

    It inverts the score test, so it has a width even where no answer changed: with z of the confidence it is
    then +- z^2 / (items + z^2). Fractional counts are allowed, for planning. Raises ValueError on impossible
    counts. Source: Tango, Statistics in Medicine 17 (1998).
    """
    if not (items > 0 and lost >= 0 and gained >= 0 and lost + gained <= items * (1 + 1e-12)):
        raise ValueError(f"{lost} lost and {gained} gained of {items} items is impossible")
    z = _two_sided(confidence)
    effect = (gained - lost) / items
    low = _crossing(lambda delta: _tango(gained, lost, items, delta) - z, -1.0, effect)
    high = _crossing(lambda delta: _tango(gained, lost, items, delta) + z, effect, 1.0)
    return _interval(low, high, confidence)


def share_interval(hits: int, items: int, confidence: float) -> Interval:
    """Two-sided interval of a rate. Raises ValueError if there is no item.

    Source: Wilson, Journal of the American Statistical Association 22 (1927).
    """
    if not 0 <= hits <= items or items == 0:
        raise ValueError(f"{hits} of {items} items is impossible")
    z = _two_sided(confidence)
    middle = (hits + z * z / 2) / (items + z * z)
    half = z * sqrt(hits * (items - hits) / items + z * z / 4) / (items + z * z)
    low = 0.0 if hits == 0 else middle - half
    high = 1.0 if hits == items else middle + half
    return _interval(low, high, confidence)


def fewest_items(margin: float, confidence: float) -> int:
    """About how many items are needed at least to exclude a loss of `margin`, if no answer changes at all.

    Fewer cannot detect the margin, whatever they answer. The larger of what `score_interval` needs and of what keeps
    the chance to see no loss at all, (1 - margin)^items, below that of an error: the score interval alone is too
    hopeful with so few.
    """
    if margin >= 1:
        return 1
    z = _two_sided(confidence)
    by_score = floor(z * z * (1 - margin) / margin) + 1
    by_chance = log((1 - confidence) / 2) / log(1 - margin)
    return max(
        by_score, ceil(by_chance - 1e-9)
    )  # What is exactly enough must not be rounded up by a last bit.


def unchanged_width(items: float, confidence: float) -> float:
    """How far `score_interval` reaches to each side where no answer changed, z^2 / (items + z^2)."""
    z = _two_sided(confidence)
    return z * z / (items + z * z)


def effective_number(sizes: Sequence[int]) -> int:
    """How many clusters of equal size tell as much as these. Source: Kish, Survey Sampling (1965)."""
    return sum(sizes) ** 2 // sum(size * size for size in sizes) if sizes else 0


def bootstrap_interval(
    differences: Sequence[float], confidence: float, seed: int, sizes: Sequence[int] | None = None
) -> Interval:
    """Two-sided interval of the mean of paired differences: bias-corrected and accelerated bootstrap.

    10,000 resamples. With `sizes` the differences are sums over clusters of so many items: whole clusters are drawn,
    and the mean is the ratio of the sums, so that every item counts alike. Differences that are all the same give an
    interval without width, which says nothing about unseen items: the caller must ask for enough of them. Raises
    ValueError if there are none. Sources: Efron, Journal of the American Statistical Association 82 (1987); for
    clusters Davison and Hinkley, Bootstrap Methods and their Application (1997), section 2.7.2 and 3.8.
    """
    import numpy as np

    values = np.asarray(differences, dtype=np.float64)
    if values.size == 0:
        raise ValueError("there is no pair to resample")
    weights = None if sizes is None else np.asarray(sizes, dtype=np.float64)
    mean = float(values.mean() if weights is None else values.sum() / weights.sum())
    # What each adds to the error of the mean.
    spread = values - mean * (1 if weights is None else weights)
    if isclose(float(spread.min()), float(spread.max()), abs_tol=1e-15):
        return _interval(mean, mean, confidence)
    means = np.sort(_resampled_means(values, weights, seed))
    edges = _bca_edges(spread, means, mean, confidence)
    low, high = (float(np.quantile(means, edge)) for edge in edges)
    return _interval(low, high, confidence)


def sign_flip_drop(differences: Sequence[float], seed: int) -> float:
    """One-sided p-value of a drop of the mean: how often random signs give a mean as low as the observed one.

    10,000 random sign patterns, the observed one counted in, so it is never 0. Source: Fisher's paired
    randomisation test; the correction is Phipson and Smyth's (2010).
    """
    import numpy as np

    values = np.asarray(differences, dtype=np.float64)
    if values.size == 0:
        raise ValueError("there is no pair to flip")
    state, low = np.random.RandomState(seed), 0
    for rows in _chunks(values.size):
        signs = np.where(state.random_sample((rows, values.size)) < 0.5, -1.0, 1.0)
        low += int(np.count_nonzero(signs @ values <= values.sum() + 1e-12))
    return (1 + low) / (1 + RESAMPLES)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """The p-values, adjusted for having looked at all of them. Source: Holm, Scand. J. Statistics 6 (1979)."""
    adjusted: dict[str, float] = {}
    highest = 0.0
    for place, name in enumerate(sorted(p_values, key=lambda name: (p_values[name], name))):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[name]))
        adjusted[name] = highest
    return {name: adjusted[name] for name in p_values}


def smallest_provable_loss(items: int, comparisons: int, alpha: float) -> int | None:
    """How many of `items` must be lost, none gained, before `exact_drop` proves it among so many comparisons.

    None if not even losing all of them would be proof.
    """
    return next((lost for lost in range(1, items + 1) if 2.0**-lost * comparisons < alpha), None)


def items_to_settle(items: int, settled: Callable[[float], bool]) -> int | None:
    """The smallest number of items, `items` or more, at which `settled(number / items)` would hold.

    `settled` is asked with a growing scale of the present sample; None if ten million are not enough.
    """
    low, high = items, items
    while not settled(high / items):
        low, high = high, high * 2
        if high > _MOST_ITEMS:
            return None
    while high - low > max(1, low // 100):
        middle = (low + high) // 2
        low, high = (low, middle) if settled(middle / items) else (middle, high)
    return high


def _interval(low: float, high: float, confidence: float) -> Interval:
    # The last bits differ between processors; a stored report must be the same on all of them.
    return Interval(low=round(low, 12), high=round(high, 12), confidence=confidence)


def _two_sided(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"a confidence lies between 0 and 1, not at {confidence}")
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def _tango(gained: float, lost: float, items: float, delta: float) -> float:
    """The score statistic of "the true difference is delta"; it falls as delta rises."""
    b = -gained - lost + (2 * items - gained + lost) * delta
    c = -lost * delta * (1 - delta)
    unchanged = (sqrt(max(0.0, b * b - 8 * items * c)) - b) / (4 * items)
    variance = items * (2 * unchanged + delta * (1 - delta))
    distance = gained - lost - items * delta
    if variance <= 0:
        return 0.0 if isclose(distance, 0.0, abs_tol=1e-12) else distance * float("inf")
    return distance / sqrt(variance)


def _crossing(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a falling function passes through zero, by bisection; an end if it does not."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) > 0 else (low, middle)
    return (low + high) / 2


def _chunks(items: int) -> list[int]:
    rows = max(1, min(RESAMPLES, _CHUNK // items))
    return [min(rows, RESAMPLES - start) for start in range(0, RESAMPLES, rows)]


def _resampled_means(values: np.ndarray, weights: np.ndarray | None, seed: int) -> np.ndarray:
    import numpy as np

    state = np.random.RandomState(seed)
    drawn = (
        (state.random_sample((rows, values.size)) * values.size).astype(np.intp)
        for rows in _chunks(values.size)
    )
    if weights is None:
        return np.concatenate([values[places].mean(axis=1) for places in drawn])
    return np.concatenate([values[places].sum(axis=1) / weights[places].sum(axis=1) for places in drawn])


def _bca_edges(spread: np.ndarray, means: np.ndarray, mean: float, confidence: float) -> tuple[float, float]:
    import numpy as np

    normal = NormalDist()
    # Ties count half: means of few distinct values repeat.
    below = float(np.mean(means < mean - 1e-15)) + 0.5 * float(np.mean(np.abs(means - mean) <= 1e-15))
    bias = normal.inv_cdf(min(max(below, 1 / len(means)), 1 - 1 / len(means)))
    acceleration = float(np.sum(spread**3)) / (6 * float(np.sum(spread**2)) ** 1.5)

    def edge(z: float) -> float:
        shifted = bias + z
        return normal.cdf(bias + shifted / (1 - acceleration * shifted))

    z = _two_sided(confidence)
    return edge(-z), edge(z)
