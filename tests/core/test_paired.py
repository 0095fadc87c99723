"""Paired statistics against closed forms, other methods and simulation."""

from __future__ import annotations

from math import log, sqrt

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rollout.core.paired import (
    bootstrap_interval,
    exact_drop,
    holm,
    items_to_settle,
    score_interval,
    sign_flip_drop,
    smallest_provable_loss,
)

Z90 = 1.6448536269514722


def test_exact_drop_is_the_binomial_tail() -> None:
    assert exact_drop(18, 0) == 2.0**-18
    assert exact_drop(3, 1) == pytest.approx(5 / 16)
    assert exact_drop(1, 3) == pytest.approx(15 / 16)


def test_no_change_is_no_evidence_of_a_drop() -> None:
    assert exact_drop(0, 0) == 1.0
    assert sign_flip_drop([0.0] * 30, seed=1) == 1.0


@given(st.integers(0, 300), st.integers(0, 300))
def test_more_losses_never_weaken_the_evidence(lost: int, gained: int) -> None:
    assert exact_drop(lost + 1, gained) <= exact_drop(lost, gained) <= exact_drop(lost, gained + 1) <= 1.0


@pytest.mark.parametrize("items", [1, 18, 90, 1000])
def test_without_any_change_the_interval_has_the_closed_form(items: int) -> None:
    interval = score_interval(0, 0, items, 0.9)
    assert interval.high == pytest.approx(Z90**2 / (items + Z90**2), rel=1e-9)
    assert interval.low == -interval.high


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 60))
def test_the_ends_of_the_interval_are_where_the_score_statistic_of_a_grid_search_is_z(
    lost: int, gained: int, unchanged: int
) -> None:
    items = lost + gained + unchanged
    assume(items > 0)
    interval = score_interval(lost, gained, items, 0.9)
    for end, sign in ((interval.low, 1), (interval.high, -1)):
        if abs(end) < 0.999:
            assert sign * _statistic_by_search(lost, gained, items, end) == pytest.approx(Z90, abs=0.03)


def _statistic_by_search(lost: int, gained: int, items: int, delta: float) -> float:
    """The score statistic with the nuisance parameter found by brute force instead of by a formula."""
    down = np.linspace(max(0.0, -delta), (1 - delta) / 2, 20001)[1:-1]
    up = down + delta
    same = 1 - up - down
    with np.errstate(divide="ignore", invalid="ignore"):
        likelihood = sum(
            count * np.log(share) if count else 0 * share
            for count, share in ((gained, up), (lost, down), (items - gained - lost, same))
        )
    best = down[np.nanargmax(np.where((up > 0) & (same > 0), likelihood, -np.inf))]
    return float((gained - lost - items * delta) / sqrt(items * (2 * best + delta * (1 - delta))))


@given(st.integers(0, 50), st.integers(0, 50), st.integers(1, 50))
def test_swapping_the_arms_mirrors_the_interval(lost: int, gained: int, unchanged: int) -> None:
    items = lost + gained + unchanged
    one, other = score_interval(lost, gained, items, 0.9), score_interval(gained, lost, items, 0.9)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=1e-9)
    assert one.low <= (gained - lost) / items <= one.high


def test_the_score_interval_covers_what_it_promises() -> None:
    dice = np.random.RandomState(5)
    counts = dice.multinomial(90, [0.07, 0.04, 0.89], size=1500)
    known = {
        pair: score_interval(pair[0], pair[1], 90, 0.9) for pair in {(int(a), int(b)) for a, b, _ in counts}
    }
    missed_below = np.mean([known[int(a), int(b)].low > -0.03 for a, b, _ in counts])
    assert missed_below <= 0.05 + 2.5 * sqrt(0.05 * 0.95 / 1500)


@pytest.mark.parametrize(("lost", "gained", "items"), [(1, 0, 0), (-1, 0, 5), (4, 4, 5)])
def test_impossible_counts_are_refused(lost: int, gained: int, items: int) -> None:
    with pytest.raises(ValueError, match="impossible"):
        score_interval(lost, gained, items, 0.9)


def test_the_bootstrap_agrees_with_the_normal_interval_where_that_is_right() -> None:
    values = np.random.RandomState(3).normal(0.01, 0.1, 400)
    interval = bootstrap_interval(list(values), 0.9, seed=1)
    half = Z90 * values.std(ddof=1) / sqrt(len(values))
    assert interval.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_the_bootstrap_leans_towards_the_long_tail() -> None:
    interval = bootstrap_interval([0.0] * 95 + [-1.0] * 5, 0.9, seed=1)
    assert -0.05 - interval.low > interval.high + 0.05 > 0


def test_the_same_seed_gives_the_same_interval_to_the_last_bit() -> None:
    values = [((number * 37) % 11) / 50 - 0.1 for number in range(120)]
    assert bootstrap_interval(values, 0.9, seed=20240) == bootstrap_interval(values, 0.9, seed=20240)
    assert bootstrap_interval(values, 0.9, seed=20240) != bootstrap_interval(values, 0.9, seed=1)
    assert sign_flip_drop(values, seed=4) == sign_flip_drop(values, seed=4)


def test_the_frozen_generator_still_gives_the_recorded_values() -> None:
    """A stored report must give the same verdict with every later numpy."""
    values = [((number * 37) % 11) / 50 - 0.1 for number in range(120)]
    interval = bootstrap_interval(values, 0.9, seed=20240)
    assert (interval.low, interval.high) == pytest.approx(RECORDED, abs=1e-12)


RECORDED = (-0.009833333333, 0.009166666667)


def test_sign_flips_agree_with_the_exact_test_on_yes_and_no() -> None:
    assert sign_flip_drop([-1.0] * 9 + [1.0] * 2 + [0.0] * 40, seed=1) == pytest.approx(
        exact_drop(9, 2), abs=0.008
    )


def test_a_proof_by_sign_flips_is_never_certain() -> None:
    assert sign_flip_drop([-1.0] * 200, seed=1) == pytest.approx(1 / 10_001)


@pytest.mark.parametrize("function", [bootstrap_interval, sign_flip_drop])
def test_no_pairs_give_no_statistics(function: object) -> None:
    with pytest.raises(ValueError, match="no pair"):
        bootstrap_interval([], 0.9, 1) if function is bootstrap_interval else sign_flip_drop([], 1)


def test_holm_steps_down_and_keeps_the_order() -> None:
    assert holm({"a": 0.04, "b": 0.01, "c": 0.03}) == pytest.approx({"a": 0.06, "b": 0.03, "c": 0.06})
    assert holm({}) == {}


@given(st.dictionaries(st.text(max_size=3), st.floats(0, 1), max_size=8))
def test_holm_never_makes_a_p_value_smaller_nor_larger_than_one(p_values: dict[str, float]) -> None:
    adjusted = holm(p_values)
    assert list(adjusted) == list(p_values)
    assert all(p_values[name] <= adjusted[name] <= 1 for name in p_values)


def test_a_family_of_true_nulls_is_rarely_rejected() -> None:
    dice = np.random.RandomState(9)
    false = 0
    for _ in range(1000):
        lost = dice.binomial(8, 0.5, size=6)
        false += (
            min(holm({str(k): exact_drop(int(n), 8 - int(n)) for k, n in enumerate(lost)}).values()) < 0.05
        )
    assert false <= 50 + 2.5 * sqrt(1000 * 0.05 * 0.95)


def test_the_smallest_provable_loss_is_the_smallest() -> None:
    least = smallest_provable_loss(18, 6, 0.05)
    assert least == 7
    assert exact_drop(least, 0) * 6 < 0.05 <= exact_drop(least - 1, 0) * 6
    assert smallest_provable_loss(6, 6, 0.05) is None


def test_items_to_settle_is_the_edge() -> None:
    def settled(scale: float) -> bool:
        return score_interval(0, 0, 50 * scale, 0.9).low > -0.03

    needed = items_to_settle(50, settled)
    closed_form = Z90**2 * 0.97 / 0.03
    assert needed == pytest.approx(closed_form, rel=0.03)
    assert items_to_settle(50, lambda _: False) is None
    assert items_to_settle(50, lambda _: True) == 50
    assert log(needed or 1) > 0
