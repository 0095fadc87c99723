"""Bounds of rates cover at all times, and arms without a bad request prove that they differ little."""

from __future__ import annotations

from math import comb, exp, log

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.core.ratebounds import difference_bounds, margin_log_e, rate_bounds


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


def test_the_difference_is_bounded_by_both_arms() -> None:
    low, high = difference_bounds(candidate=100, candidate_bad=0, stable=900, stable_bad=0, alpha=0.05)
    assert low < 0 < high < 0.07


def test_failure_free_arms_prove_a_small_difference_in_reasonable_time() -> None:
    """F6: no ratio is asked of a baseline of zero, a margin is."""
    proof = margin_log_e(candidate=420, candidate_bad=0, stable=3000, stable_bad=0, margin=0.02)
    assert proof > log(20)
    assert margin_log_e(candidate=350, candidate_bad=0, stable=3000, stable_bad=0, margin=0.02) < log(20)


@given(
    candidate=st.integers(20, 2000),
    stable=st.integers(20, 2000),
    rates=st.tuples(st.floats(0, 0.2), st.floats(0, 0.2)),
    margin=st.floats(0.005, 0.3),
    alpha=st.sampled_from([0.01, 0.05, 0.2]),
)
def test_the_evidence_suffices_exactly_where_the_bound_is_below_the_margin(
    candidate: int, stable: int, rates: tuple[float, float], margin: float, alpha: float
) -> None:
    arms = {
        "candidate": candidate,
        "candidate_bad": round(rates[0] * candidate),
        "stable": stable,
        "stable_bad": round(rates[1] * stable),
    }
    proof = margin_log_e(**arms, margin=margin)
    _, high = difference_bounds(**arms, alpha=alpha)
    if abs(high - margin) > 1e-9:
        assert (proof >= log(1 / alpha)) == (high <= margin)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.4])
def test_evidence_of_a_margin_is_at_most_one_on_average_at_the_margin_by_enumeration(rate: float) -> None:
    """Both arms binomial, the candidate exactly the margin worse, and worse than that."""
    own, theirs, margin = 12, 15, 0.3
    for worse in (margin, 0.5):
        total = 0.0
        for x in range(own + 1):
            for y in range(theirs + 1):
                chance = comb(own, x) * (rate + worse) ** x * (1 - rate - worse) ** (own - x)
                chance *= comb(theirs, y) * rate**y * (1 - rate) ** (theirs - y)
                total += chance * exp(
                    margin_log_e(candidate=own, candidate_bad=x, stable=theirs, stable_bad=y, margin=margin)
                )
        assert total <= 1 + 1e-9


def test_a_candidate_without_requests_proves_nothing() -> None:
    assert margin_log_e(candidate=0, candidate_bad=0, stable=900, stable_bad=0, margin=0.1) < 0


def test_a_rate_below_the_margin_itself_is_enough_for_a_proof() -> None:
    """Whatever stable's rate is, the candidate's cannot be above it by more than it is at all."""
    assert margin_log_e(candidate=900, candidate_bad=0, stable=1, stable_bad=0, margin=0.1) > log(1e6)
