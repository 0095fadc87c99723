"""The e-process is an e-process, and the confidence sequence covers."""

from __future__ import annotations

from math import comb, exp, inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.core.ratebounds import difference_bounds, rate_bounds
from rollout.core.stats import (
    HARM_ODDS,
    harm_increments,
    log_sum_exp,
    mixed_log_e,
)


def _null_expectation(candidate: int, stable: int, bad: int, tolerance: float, odds: float) -> float:
    """E[e] of one look by enumeration, when the true odds ratio is `odds`."""
    support = range(max(0, bad - stable), min(bad, candidate) + 1)
    weights = {x: comb(candidate, x) * comb(stable, bad - x) * odds**x for x in support}
    whole = sum(weights.values())
    return sum(
        weight
        / whole
        * exp(
            mixed_log_e(
                harm_increments(
                    candidate=candidate,
                    candidate_bad=x,
                    stable=stable,
                    stable_bad=bad - x,
                    tolerance=tolerance,
                )
            )
        )
        for x, weight in weights.items()
    )


@pytest.mark.parametrize("odds", [0.2, 0.8, 1.0, 1.25])
def test_expectation_is_at_most_one_under_every_null_by_enumeration(odds: float) -> None:
    for candidate in (1, 3, 7):
        for stable in (1, 5, 12):
            for bad in range(1, candidate + stable):
                expectation = _null_expectation(candidate, stable, bad, 1.25, odds)
                assert expectation <= 1 + 1e-9, (candidate, stable, bad, odds)


def test_expectation_at_the_boundary_is_exactly_one() -> None:
    assert _null_expectation(6, 9, 5, 1.25, 1.25) == pytest.approx(1.0)


def test_expectation_above_the_tolerance_grows() -> None:
    assert _null_expectation(6, 9, 5, 1.25, 4.0) > 1.2


@pytest.mark.parametrize(
    ("candidate", "stable", "candidate_bad", "stable_bad"),
    [(0, 10, 0, 3), (10, 0, 3, 0), (10, 10, 0, 0), (10, 10, 10, 10)],
    ids=["no candidate", "no control", "nothing is bad", "everything is bad"],
)
def test_a_look_that_can_tell_nothing_adds_nothing(
    candidate: int, stable: int, candidate_bad: int, stable_bad: int
) -> None:
    increments = harm_increments(
        candidate=candidate,
        candidate_bad=candidate_bad,
        stable=stable,
        stable_bad=stable_bad,
        tolerance=1.25,
    )
    assert increments == (0.0,) * len(HARM_ODDS)


def test_a_zero_baseline_still_shows_harm() -> None:
    """No errors in stable, some in the candidate: judges that compare by ratio have passed this."""
    sums = [0.0] * len(HARM_ODDS)
    for _ in range(6):
        more = harm_increments(candidate=20, candidate_bad=3, stable=180, stable_bad=0, tolerance=1.25)
        sums = [before + added for before, added in zip(sums, more, strict=True)]
    assert exp(mixed_log_e(sums)) > 300


def test_large_looks_do_not_overflow() -> None:
    increments = harm_increments(
        candidate=5_000, candidate_bad=2_000, stable=95_000, stable_bad=3_000, tolerance=1.25
    )
    assert all(value < inf for value in increments)
    assert mixed_log_e(increments) > 100


@given(total=st.integers(1, 400), data=st.data(), alpha=st.sampled_from([0.01, 0.05, 0.2]))
@settings(max_examples=60)
def test_bounds_contain_the_observed_rate_and_narrow_with_data(
    total: int, data: st.DataObject, alpha: float
) -> None:
    bad = data.draw(st.integers(0, total))
    low, high = rate_bounds(bad, total, alpha)
    assert 0 <= low <= bad / total <= high <= 1
    wider_low, wider_high = rate_bounds(bad * 10, total * 10, alpha)
    assert high - low >= wider_high - wider_low


def test_no_data_bounds_nothing() -> None:
    assert rate_bounds(0, 0, 0.05) == (0.0, 1.0)


def test_the_sequence_covers_at_all_times_at_once() -> None:
    """200 seeded runs of 400 looks each: the truth leaves the bounds in at most alpha of them, plus 2 s.e."""
    import numpy as np

    alpha, truth, runs = 0.1, 0.1, 200
    draws = np.random.default_rng(7).random((runs, 400)) < truth
    ever_out = 0
    for run in draws:
        counts = run.cumsum()
        for n in range(1, 401, 7):
            low, high = rate_bounds(int(counts[n - 1]), n, alpha)
            if not low <= truth <= high:
                ever_out += 1
                break
    assert ever_out / runs <= alpha + 2 * (alpha * (1 - alpha) / runs) ** 0.5


def test_looking_288_times_at_equal_arms_rarely_shows_harm() -> None:
    import numpy as np

    rng, alpha, runs, alarms = np.random.default_rng(11), 0.05, 200, 0
    for _ in range(runs):
        sums = np.zeros(len(HARM_ODDS))
        for _look in range(288):
            bad_candidate, bad_stable = int(rng.binomial(20, 0.03)), int(rng.binomial(380, 0.03))
            sums += harm_increments(
                candidate=20, candidate_bad=bad_candidate, stable=380, stable_bad=bad_stable, tolerance=1.0
            )
            if mixed_log_e(sums.tolist()) >= np.log(1 / alpha):
                alarms += 1
                break
    assert alarms / runs <= alpha + 2 * (alpha * (1 - alpha) / runs) ** 0.5


def test_the_difference_is_bounded_by_both_arms() -> None:
    low, high = difference_bounds(candidate=100, candidate_bad=0, stable=900, stable_bad=0, alpha=0.05)
    assert low < 0 < high < 0.07


def test_summing_nothing_likely_stays_minus_infinity() -> None:
    assert log_sum_exp([-inf, -inf]) == -inf
