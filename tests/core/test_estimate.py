"""Estimates and their intervals: hand values, other libraries and simulation."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.core.estimate import (
    estimate,
    lacking,
    mean_interval,
    quantile,
    quantile_interval,
    shows,
    timed_estimate,
    timed_interval,
)
from rollout.core.evaluation import Estimate, ShardTimings, Side, Timing
from rollout.core.paired import share_interval
from rollout.core.verdict import Interval
from tests.support.measurements import BAD, OK, measured, with_scores

Z90 = 1.6448536269514722

# Rates.


@pytest.mark.parametrize(
    ("hits", "items", "low", "high"),
    [
        # By hand, z = 1.96: Wilson's interval of 8 of 10 is 0.4902 to 0.9433, of 0 of 10 0 to 0.2775.
        (8, 10, 0.490162, 0.943318),
        (0, 10, 0.0, 0.277533),
        (10, 10, 0.722467, 1.0),
        (
            81,
            263,
            0.255289,
            0.366188,
        ),  # Newcombe, Statistics in Medicine 17 (1998), table I: 0.2553 to 0.3662
        (15, 148, 0.062386, 0.160518),  # the same: 0.0624 to 0.1605
        (1, 29, 0.006113, 0.171755),  # the same: 0.0061 to 0.1718
    ],
)
def test_the_interval_of_a_rate_is_wilsons(hits: int, items: int, low: float, high: float) -> None:
    found = share_interval(hits, items, 0.95)
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(("hits", "items"), [(0, 0), (-1, 5), (6, 5)])
def test_impossible_rates_are_refused(hits: int, items: int) -> None:
    with pytest.raises(ValueError, match="impossible"):
        share_interval(hits, items, 0.9)


@given(st.integers(1, 400), st.data(), st.sampled_from([0.6, 0.9, 0.98]))
def test_an_interval_holds_its_rate_and_mirrors(items: int, data: st.DataObject, confidence: float) -> None:
    hits = data.draw(st.integers(0, items))
    found, other = (share_interval(number, items, confidence) for number in (hits, items - hits))
    assert 0 <= found.low <= hits / items <= found.high <= 1
    assert found.low < found.high
    assert (found.low, found.high) == pytest.approx((1 - other.high, 1 - other.low), abs=1e-9)


def test_yes_and_no_have_wilsons_interval_and_scores_the_bootstraps() -> None:
    yes_and_no = [1.0] * 8 + [0.0] * 2
    assert mean_interval(yes_and_no, "json_compliance", 0.95, 1) == share_interval(8, 10, 0.95)
    assert mean_interval(yes_and_no, "rouge_l", 0.95, 1) != share_interval(8, 10, 0.95)
    of_repeats = [0.5, 1.0, 0.25] * 20
    found = mean_interval(of_repeats, "json_compliance", 0.9, 1)
    half = Z90 * float(np.std(of_repeats, ddof=1)) / sqrt(60)
    assert (found.low, found.high) == pytest.approx((0.58333 - half, 0.58333 + half), abs=0.1 * half)


# Quantiles.


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50), st.floats(0, 1))
def test_the_quantile_is_that_of_numpy(values: list[float], share: float) -> None:
    assert quantile(values, share) == pytest.approx(float(np.quantile(values, share)), rel=1e-9, abs=1e-9)


def test_there_is_no_quantile_of_nothing() -> None:
    with pytest.raises(ValueError, match="no value"):
        quantile([], 0.5)
    assert quantile_interval([], 0.5, 0.9) is None


@pytest.mark.parametrize(
    ("n", "share", "low", "high"),
    [
        # Order statistics (from 1) by the binomial table: P(B <= 5) = 0.0207 and P(B <= 6) = 0.0577 of 20 at 1/2.
        (20, 0.5, 6, 15),
        # P(B <= 2) = 0.0193, P(B <= 3) = 0.0730 of 13; 8 + 2 mirror them.
        (12, 0.5, 3, 10),
        (100, 0.95, 91, 99),
        # Too few for an upper end: the largest is all that is there.
        (10, 0.95, 8, 10),
        (1, 0.5, 1, 1),
    ],
)
def test_the_ends_are_the_order_statistics_of_the_binomial_table(
    n: int, share: float, low: int, high: int
) -> None:
    found = quantile_interval([float(number) for number in range(n, 0, -1)], share, 0.9)
    assert found == Interval(low=float(low), high=float(high), confidence=0.9)


@pytest.mark.parametrize(("n", "share"), [(8, 0.5), (16, 0.5), (40, 0.5), (100, 0.95), (200, 0.99)])
def test_neither_end_misses_the_quantile_more_often_than_it_may(n: int, share: float) -> None:
    """Of a uniform distribution the quantile is `share`; each end may lie beyond it in 5 % of samples."""
    dice, trials, level = np.random.RandomState(20240), 2000, 0.05
    samples = dice.random_sample((trials, n))
    found = [quantile_interval(list(row), share, 1 - 2 * level) for row in samples]
    tolerance = level + 2.5 * sqrt(level * (1 - level) / trials)
    above = sum(each is not None and each.low > share for each in found) / trials
    below = sum(each is not None and each.high < share for each in found) / trials
    assert above <= tolerance
    # Where the sample is too small for an upper end, the largest value covers less, as documented.
    assert below <= max(tolerance, share**n + 2.5 * sqrt(share**n * (1 - share**n) / trials))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0, 1e4), min_size=1, max_size=60),
    st.sampled_from([0.5, 0.95, 0.99]),
    st.sampled_from([0.8, 0.9]),
)
def test_the_ends_are_values_and_forget_their_order(
    values: list[float], share: float, confidence: float
) -> None:
    found = quantile_interval(values, share, confidence)
    assert found is not None
    assert found == quantile_interval(values[::-1], share, confidence)
    assert {found.low, found.high} <= set(values)
    assert found.low <= found.high


# What an estimate rests on.


def test_an_estimate_of_nothing_has_no_value() -> None:
    assert estimate(measured(lambda _: OK, n=8), "refusal_rate", Side.CANDIDATE) == Estimate(value=None, n=0)
    assert estimate(measured(lambda _: OK, champion=None), "success", Side.CHAMPION).n == 0


def test_one_value_that_is_no_number_leaves_no_mean() -> None:
    broken = with_scores(
        measured(lambda _: OK, n=8), lambda n, _, scores: scores.update(success=float("nan" if n == 3 else 1))
    )
    assert estimate(broken, "success", Side.CANDIDATE) == Estimate(value=None, n=8)


def test_what_the_candidate_lacks_beside_another_side_is_named() -> None:
    found = measured(lambda _: BAD, n=6)

    def drop(number: int, side: Side, scores: dict[str, float]) -> None:
        if side is Side.CANDIDATE and number in (1, 4):
            del scores["rouge_l"]

    assert lacking(with_scores(found, drop), "rouge_l") == ["i1", "i4"]
    assert lacking(found, "rouge_l") == lacking(found, "toxicity") == []


def test_limits_are_shown_by_the_whole_interval() -> None:
    found = Interval(low=0.4, high=0.6, confidence=0.9)
    assert shows(found, 0.4, 0.6)
    assert shows(found, None, None)
    assert not shows(found, 0.41, None)
    assert not shows(found, None, 0.59)
    assert not shows(None, None, None), "an interval that is not there shows nothing"


# Times.


def shard(*milliseconds: float | None, tokens: int = 10) -> ShardTimings:
    timings = tuple(Timing(item="i", milliseconds=each, tokens=tokens) for each in milliseconds)
    return ShardTimings(shard="1/1", hardware="m", threads=1, timings={Side.CANDIDATE: timings})


def test_tokens_per_second_are_all_tokens_over_all_time() -> None:
    assert timed_estimate([shard(10.0, 30.0)], "tokens_per_second", Side.CANDIDATE).value == 500.0
    assert timed_interval([shard(10.0, 30.0)], "tokens_per_second", Side.CANDIDATE, 0.9) is None


@pytest.mark.parametrize("times", [(None,), (None, 5.0), (5.0, None, None)])
def test_an_unknown_time_leaves_no_figure(times: tuple[float | None, ...]) -> None:
    for name in ("latency_p50_ms", "latency_p99_ms", "tokens_per_second"):
        assert timed_estimate([shard(*times)], name, Side.CANDIDATE).value is None


def test_no_time_at_all_is_no_speed() -> None:
    assert timed_estimate([shard(0.0, 0.0)], "tokens_per_second", Side.CANDIDATE).value is None
    assert timed_estimate([], "latency_p50_ms", Side.CANDIDATE) == Estimate(value=None, n=0)
