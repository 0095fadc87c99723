"""Bets on scores cannot be expected to win while the null is true, and find a loss or its absence in time."""

from __future__ import annotations

from itertools import product
from math import exp, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.core.betting import (
    STAKES,
    gain_increments,
    loss_increments,
    mean_half_width,
    mean_log_e,
    variance_of,
)
from rollout.core.stats import mixed_log_e

OUTCOMES = (-1.0, -0.3, 0.0, 0.4, 1.0)


def _mean(chances: tuple[float, ...]) -> float:
    return sum(chance * value for chance, value in zip(chances, OUTCOMES, strict=True))


@pytest.mark.parametrize(
    "chances",
    [
        (0.2, 0.1, 0.37, 0.2, 0.13),
        (0.02, 0.0, 0.98, 0.0, 0.0),
        (0.5, 0.0, 0.02, 0.0, 0.48),
        (0.0, 0.0, 1.0, 0.0, 0.0),
        (0.0, 0.0, 0.5, 0.25, 0.25),
    ],
)
def test_bets_are_fair_at_best_by_enumeration_of_three_pairs(chances: tuple[float, ...]) -> None:
    """Every null: a mean loss of what is tolerated, or less; and every outcome of three pairs of it."""
    tolerated = max(-_mean(chances), 0.0)
    losing = winning = 0.0
    for deal in product(range(5), repeat=3):
        chance = 1.0
        for place in deal:
            chance *= chances[place]
        pairs = [OUTCOMES[place] for place in deal]
        losing += chance * exp(mixed_log_e(loss_increments(pairs, tolerated)))
        winning += chance * exp(mixed_log_e(gain_increments([-each for each in pairs], 0.0)))
    assert losing <= 1 + 1e-9
    if _mean(chances) >= 0:
        assert winning <= 1 + 1e-9


def test_a_bet_at_the_very_null_is_fair() -> None:
    pairs = [(-0.3 + each) / 1 for each in (0.2, -0.2)]
    means = [exp(mixed_log_e(loss_increments([each], 0.3))) for each in pairs]
    assert sum(means) / 2 == pytest.approx(1.0)


@given(pairs=st.lists(st.floats(-1, 1), max_size=30))
def test_a_loss_of_one_arm_is_the_gain_of_the_other(pairs: list[float]) -> None:
    """Against the null of no difference: swapped arms swap the two tests exactly."""
    assert loss_increments(pairs, 0.0) == gain_increments([-each for each in pairs], 0.0)


@given(pairs=st.lists(st.floats(-1, 1), min_size=2, max_size=30), cut=st.integers(1, 29))
def test_pairs_may_come_in_any_order_and_in_any_deliveries(pairs: list[float], cut: int) -> None:
    assert loss_increments(sorted(pairs), 0.01) == loss_increments(pairs, 0.01)
    parts = zip(gain_increments(pairs[:cut], 0.1), gain_increments(pairs[cut:], 0.1), strict=True)
    assert [one + other for one, other in parts] == pytest.approx(gain_increments(pairs, 0.1), abs=1e-9)


def test_no_pair_can_cost_more_than_was_bet() -> None:
    assert min(loss_increments([1.0], 0.3)) == pytest.approx(log(1 - max(STAKES)))
    assert min(gain_increments([-1.0], 0.3)) == pytest.approx(log(1 - max(STAKES)))


def test_a_mean_is_bounded_at_all_times_at_once() -> None:
    """200 seeded runs, a look every 50 values from 100 to 5,000."""
    import numpy as np

    alpha, runs, out = 0.1, 200, 0
    values = np.random.default_rng(17).beta(6, 2, (runs, 5000))
    numbers = np.arange(100, 5001, 50)
    sums, squares = values.cumsum(axis=1), (values**2).cumsum(axis=1)
    for run in range(runs):
        for number in numbers:
            total = float(sums[run, number - 1])
            variance = variance_of(int(number), total, float(squares[run, number - 1])) / int(number)
            if abs(total / number - 0.75) > mean_half_width(variance, float(number), alpha):
                out += 1
                break
    assert out / runs <= alpha + 2 * (alpha * (1 - alpha) / runs) ** 0.5


def test_evidence_of_a_mean_grows_with_the_distance_and_never_overflows() -> None:
    far, near, none, against = (mean_log_e(each, 1e-4, 500) for each in (0.2, 0.05, 0.0, -0.9))
    assert far > near > 0 > none > against
    assert mean_log_e(1.0, 1e-12, 1e9) > 1e5
    assert mean_log_e(-1.0, 1e-12, 1e9) < -5


def test_values_that_are_all_equal_are_not_certain() -> None:
    assert variance_of(50, 50.0, 50.0) > 0.01
    assert variance_of(50, 0.0, 0.0) == pytest.approx(variance_of(50, 50.0, 50.0))
