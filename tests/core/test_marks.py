"""Marks are chance where the arms are alike, the same from a log and a histogram, and never favour an arm."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, product
from math import ceil, exp, inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.core.judging.evidence import Exceedance
from rollout.core.marks import counts_of_values, length_class, marks_of_histogram, marks_of_values
from rollout.core.metric import Marks, MetricSpec, Test
from rollout.core.observed import observed_histogram, observed_values
from rollout.core.stats import mixed_log_e
from tests.core.judging import latency

TIMES = st.lists(st.floats(0.5, 5000), min_size=1, max_size=40)
PLAIN = latency(tolerance=1.0, max_ratio=1.5)


def one(spec: MetricSpec, quantile: float, test: Test, found: tuple[Marks, ...]) -> Marks:
    [marks] = [each for each in found if (each.quantile, each.test) == (quantile, test)]
    return marks


def harm_e(marks: Marks) -> float:
    return exp(mixed_log_e(Exceedance(quantile=marks.quantile).with_marks(marks).harm))


def proof_e(marks: Marks) -> float:
    return exp(mixed_log_e(Exceedance(quantile=marks.quantile).with_marks(marks).advance))


def test_the_slowest_of_both_arms_together_are_marked() -> None:
    found = marks_of_values(PLAIN, [*range(1, 96)], [200.0, 300, 400, 10, 20], stratum="short")
    marks = one(PLAIN, 0.95, Test.HARM, found)
    assert (marks.stable.bad, marks.candidate.bad) == (2, 3)
    assert (marks.stable.total, marks.candidate.total, marks.stratum) == (95, 5, "short")
    assert len(found) == 4, "each quantile, for each question"


def test_each_question_allows_its_own_ratio() -> None:
    spec = latency(tolerance=1.1, max_ratio=2.0, quantiles=[0.5])
    stable, candidate = [100.0] * 5 + [50.0] * 5, [150.0] * 5 + [80.0] * 5
    found = marks_of_values(spec, stable, candidate)
    assert one(spec, 0.5, Test.HARM, found).candidate.bad == 5, "136 ms are slower than 100"
    assert one(spec, 0.5, Test.ADVANCE, found).candidate.bad == 5, "75 ms are slower than 50"
    assert one(spec, 0.5, Test.ADVANCE, found).stable.bad == 5


def test_equal_times_are_marked_together_and_nothing_is_where_all_are_equal() -> None:
    tied = one(PLAIN, 0.95, Test.HARM, marks_of_values(PLAIN, [9.0] * 3 + [1.0] * 47, [9.0] * 2 + [1.0] * 48))
    assert (tied.stable.bad, tied.candidate.bad) == (3, 2)
    alike = one(PLAIN, 0.95, Test.HARM, marks_of_values(PLAIN, [7.0] * 30, [7.0] * 30))
    assert (alike.stable.bad, alike.candidate.bad) == (0, 0)
    assert harm_e(alike) == 1.0


def test_whole_milliseconds_stay_equal_after_a_division() -> None:
    spec = latency(tolerance=1.05, quantiles=[0.5])
    marks = one(spec, 0.5, Test.HARM, marks_of_values(spec, [100.0] * 4 + [1.0] * 4, [105.0] * 4 + [1.0] * 4))
    assert (marks.stable.bad, marks.candidate.bad) == (4, 4)


def test_a_time_out_is_the_slowest_of_all() -> None:
    """Rule 5: a time-out is never left out of the latency."""
    marks = one(PLAIN, 0.95, Test.HARM, marks_of_values(PLAIN, [*range(1, 91)], [inf] * 9 + [5.0]))
    assert (marks.stable.bad, marks.candidate.bad) == (0, 9), "all of them, though 5 would have been marked"


@pytest.mark.parametrize("odd", [nan, -1.0, -inf], ids=str)
def test_odd_times_are_refused_and_never_replaced(odd: float) -> None:
    """F3, rule 4: no comparison is made with what is no number."""
    for arms in (([1.0, odd], [1.0]), ([1.0], [odd])):
        with pytest.raises(ValueError, match="a time is a number, 0 or more"):
            marks_of_values(PLAIN, *arms)


def test_an_arm_without_times_gives_no_marks() -> None:
    assert marks_of_values(PLAIN, [1.0], []) == marks_of_values(PLAIN, [], [1.0]) == ()
    assert marks_of_histogram(PLAIN, [1.0, inf], [0, 0], [1, 2]) == ()


@given(stable=TIMES, candidate=TIMES, spec=st.sampled_from([PLAIN, latency(buckets=[1, 50, 100, 500])]))
def test_the_order_in_which_times_come_changes_nothing(
    stable: list[float], candidate: list[float], spec: MetricSpec
) -> None:
    shuffled = marks_of_values(spec, stable[::-1], sorted(candidate))
    assert shuffled == marks_of_values(spec, stable, candidate)


@given(stable=TIMES, candidate=TIMES, tied=st.booleans())
def test_swapped_arms_have_swapped_marks(stable: list[float], candidate: list[float], tied: bool) -> None:
    if tied:
        stable, candidate = [ceil(each / 1000) for each in stable], [ceil(each / 1000) for each in candidate]
    for quantile in PLAIN.quantiles:
        marks = one(PLAIN, quantile, Test.HARM, marks_of_values(PLAIN, stable, candidate))
        other = one(PLAIN, quantile, Test.HARM, marks_of_values(PLAIN, candidate, stable))
        assert (marks.stable, marks.candidate) == (other.candidate, other.stable)


@given(stable=TIMES, candidate=TIMES)
def test_a_log_and_a_histogram_of_the_same_times_give_the_same_counts(
    stable: list[float], candidate: list[float]
) -> None:
    spec = latency(buckets=[1, 5, 25, 100, 105, 250, 1000, 2500])
    edges = (*(spec.buckets or ()), inf)
    counts = [counts_of_values(edges, arm) for arm in (stable, candidate)]
    assert marks_of_values(spec, stable, candidate) == marks_of_histogram(spec, edges, *counts)


@given(stable=TIMES, candidate=TIMES)
def test_buckets_make_each_question_harder_and_never_easier(
    stable: list[float], candidate: list[float]
) -> None:
    """The candidate's marks against those of an exact division at the very same mark of stable."""
    spec = latency(buckets=[1, 5, 25, 100, 250, 1000, 2500], quantiles=[0.75], tolerance=1.3, max_ratio=2.0)
    found = marks_of_values(spec, stable, candidate)
    for test, ratio in ((Test.HARM, 1.3), (Test.ADVANCE, 2.0)):
        marks = one(spec, 0.75, test, found)
        exact = {
            sum(each > edge * ratio for each in candidate)
            for edge in spec.buckets or ()
            if sum(each > edge for each in stable) == marks.stable.bad
        }
        if marks.stable.bad and test is Test.HARM:
            assert marks.candidate.bad <= max(exact)
        if marks.stable.bad and test is Test.ADVANCE:
            assert marks.candidate.bad >= min(exact)


def test_an_edge_at_the_very_ratio_is_used() -> None:
    spec = latency(quantiles=[0.5], tolerance=1.05)
    marks = one(spec, 0.5, Test.HARM, marks_of_histogram(spec, [100, 105, inf], [5, 0, 5], [0, 5, 5]))
    assert (marks.stable.bad, marks.candidate.bad) == (5, 5)


@pytest.mark.parametrize(
    ("edges", "stable", "candidate"),
    [
        ([], [], []),
        ([1, 2], [1], [1, 1]),
        ([2, 1], [1, 1], [1, 1]),
        ([1, nan], [1, 1], [1, 1]),
        ([0, 1], [1, 1], [1, 1]),
        ([1, 2], [-1, 1], [1, 1]),
    ],
)
def test_a_misshapen_histogram_is_refused(
    edges: list[float], stable: list[int], candidate: list[int]
) -> None:
    with pytest.raises(ValueError, match="histogram"):
        marks_of_histogram(PLAIN, edges, stable, candidate)


def _deals(values: Sequence[float], number: int) -> list[tuple[list[float], list[float]]]:
    """Every way to deal the values to a candidate of `number` and to stable."""
    places = range(len(values))
    return [
        ([values[at] for at in places if at not in chosen], [values[at] for at in chosen])
        for chosen in combinations(places, number)
    ]


@pytest.mark.parametrize("values", [(1, 2, 3, 4, 5, 6, 7), (1, 1, 1, 5, 5, 9, 9), (3, 3, 3, 3, 3, 3, 8)])
@pytest.mark.parametrize("quantile", [0.5, 0.8])
def test_evidence_of_dealt_times_is_one_on_average_by_enumeration(
    values: tuple[float, ...], quantile: float
) -> None:
    """Where chance deals the times, ties or none, E[e] is 1 for both questions."""
    spec = latency(tolerance=1.0, max_ratio=1.5, quantiles=[quantile])
    for number in (1, 3, 5):
        deals = _deals(values, number)
        harm = [harm_e(one(spec, quantile, Test.HARM, marks_of_values(spec, *deal))) for deal in deals]
        assert sum(harm) / len(deals) == pytest.approx(1.0)
        proof = [
            proof_e(one(spec, quantile, Test.ADVANCE, marks_of_values(spec, theirs, [1.5 * t for t in own])))
            for theirs, own in deals
        ]
        assert sum(proof) / len(deals) == pytest.approx(1.0)


@pytest.mark.parametrize("buckets", [None, [1.0, 2, 3, 4], [1.5, 2.5], [1.0, 3]])
def test_a_quicker_candidate_is_no_harm_on_average_by_enumeration(buckets: list[float] | None) -> None:
    """A candidate whose times are stochastically smaller has E[e] of harm below 1, and a slower one that of proof."""
    spec = latency(tolerance=1.0, max_ratio=1.001, quantiles=[0.5], buckets=buckets)
    values = (1.0, 2.0, 3.0)
    faster, slower = {1.0: 0.5, 2.0: 0.3, 3.0: 0.2}, {1.0: 0.2, 2.0: 0.4, 3.0: 0.4}
    harm = proof = 0.0
    for arms in product(values, repeat=4):
        for low, high, test in ((arms[:2], arms[2:], Test.HARM), (arms[2:], arms[:2], Test.ADVANCE)):
            chance = 1.0
            for each in low:
                chance *= faster[each]
            for each in high:
                chance *= slower[each]
            stable, candidate = (high, low) if test is Test.HARM else (low, [1.001 * t for t in high])
            marks = one(spec, 0.5, test, marks_of_values(spec, stable, candidate))
            if test is Test.HARM:
                harm += chance * harm_e(marks)
            else:
                proof += chance * proof_e(marks)
    assert harm <= 1 + 1e-9
    assert proof <= 1 + 1e-9


@pytest.mark.parametrize(
    ("tokens", "name"),
    [
        (None, "unknown length"),
        (0, "0 to 16 tokens"),
        (16, "0 to 16 tokens"),
        (17, "17 to 64 tokens"),
        (256, "65 to 256 tokens"),
        (1024, "257 to 1024 tokens"),
        (1025, "1025 tokens or more"),
    ],
)
def test_answers_of_like_length_are_compared(tokens: int | None, name: str) -> None:
    assert length_class(tokens) == name


def test_quantiles_that_people_read_are_none_where_nothing_or_a_time_out_is_seen() -> None:
    spec = latency(quantiles=[0.5, 0.95])
    seen = observed_values(spec, [100.0] * 10 + [inf] * 10, [])
    assert seen == {"P50": (None, None), "P95": (None, None)}
    assert observed_values(spec, [100.0, 200.0, 300.0], [40.0])["P50"] == (200.0, 40.0)


def test_a_small_arm_does_not_look_faster_than_a_large_one() -> None:
    """The sample quantile of few values is below the truth, unless it is taken without that bias (F15)."""
    import numpy as np

    spec, draws = latency(quantiles=[0.95]), np.random.default_rng(5)
    small = [observed_values(spec, [1.0], draws.lognormal(6, 0.6, 20).tolist())["P95"][1] for _ in range(800)]
    truth = exp(6 + 0.6 * 1.6449)
    assert np.median([each or 0 for each in small]) == pytest.approx(truth, rel=0.05)


def test_a_histogram_is_read_as_evenly_spread() -> None:
    spec = latency(quantiles=[0.5])
    seen = observed_histogram(spec, [100, 200, inf], [0, 10, 0], [0, 0, 3])
    assert seen == {"P50": (150.0, None)}
