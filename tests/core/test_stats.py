"""The e-processes of an odds ratio are e-processes, from either side, by enumeration and by another's figures."""

from __future__ import annotations

from math import comb, exp, inf, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.core.stats import (
    ADVANCE_ODDS,
    HARM_ODDS,
    added,
    advance_increments,
    as_odds,
    harm_increments,
    harm_log_e,
    log_choose,
    log_sum_exp,
    log_tilt,
    mixed_log_e,
    odds_increments,
    staked_anew,
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


def test_summing_nothing_likely_stays_minus_infinity() -> None:
    assert log_sum_exp([-inf, -inf]) == -inf


def _proof_expectation(candidate: int, stable: int, bad: int, accepted: float, odds: float) -> float:
    """E[e] of one look's proof by enumeration, when the true odds ratio is `odds`."""
    support = range(max(0, bad - stable), min(bad, candidate) + 1)
    weights = {x: comb(candidate, x) * comb(stable, bad - x) * odds**x for x in support}
    whole = sum(weights.values())
    total = 0.0
    for x, weight in weights.items():
        increments = advance_increments(
            candidate=candidate, candidate_bad=x, stable=stable, stable_bad=bad - x, accepted=accepted
        )
        total += weight / whole * exp(mixed_log_e(increments))
    return total


@pytest.mark.parametrize("odds", [2.0, 2.5, 10.0])
def test_a_proof_of_no_worse_is_at_most_one_on_average_where_it_is_worse_by_enumeration(odds: float) -> None:
    for candidate in (1, 3, 7):
        for stable in (1, 5, 12):
            for bad in range(1, candidate + stable):
                expectation = _proof_expectation(candidate, stable, bad, 2.0, odds)
                assert expectation <= 1 + 1e-9, (candidate, stable, bad, odds)


def test_a_proof_grows_where_the_arms_are_equal_and_is_one_at_the_margin() -> None:
    assert _proof_expectation(6, 9, 5, 2.0, 2.0) == pytest.approx(1.0)
    assert _proof_expectation(6, 9, 5, 2.0, 1.0) > 1.1


@given(
    candidate=st.integers(1, 300),
    stable=st.integers(1, 300),
    part=st.floats(0, 1),
    odds=st.floats(0.05, 40),
)
def test_the_normaliser_is_the_sum_of_all_its_terms(
    candidate: int, stable: int, part: float, odds: float
) -> None:
    """It is summed from its mode outwards; here it is summed whole."""
    bad = round(part * (candidate + stable))
    support = range(max(0, bad - stable), min(bad, candidate) + 1)
    terms = [log(comb(candidate, x) * comb(stable, bad - x)) + x * log(odds) for x in support]
    whole = log_sum_exp(terms) - log(comb(candidate + stable, bad))
    assert log_tilt(candidate, stable, bad, odds) == pytest.approx(whole, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    ("candidate", "stable", "bad", "odds"),
    [(100, 1900, 100, 1.5), (100, 1900, 1000, 0.5), (1000, 1000, 40, 3.0), (5, 60, 3, 1.25)],
)
def test_increments_are_likelihood_ratios_as_scipy_has_them(
    candidate: int, stable: int, bad: int, odds: float
) -> None:
    """Against scipy's hypergeometric and Fisher's noncentral hypergeometric distributions."""
    distributions = pytest.importorskip("scipy.stats")
    whole = candidate + stable
    fisher = distributions.nchypergeom_fisher
    for x in {max(0, bad - stable), round(bad * candidate / whole), min(bad, candidate)}:
        [increment] = odds_increments(
            candidate=candidate,
            candidate_bad=x,
            stable=stable,
            stable_bad=bad - x,
            boundary=1.0,
            multiples=(odds,),
        )
        ratio = fisher.logpmf(x, whole, candidate, bad, odds)
        ratio -= distributions.hypergeom.logpmf(x, whole, candidate, bad)
        assert increment == pytest.approx(ratio, rel=1e-6, abs=1e-6)


@given(candidate=st.integers(1, 80), stable=st.integers(1, 80), x=st.floats(0, 1), y=st.floats(0, 1))
def test_swapped_arms_turn_harm_into_improvement_exactly(
    candidate: int, stable: int, x: float, y: float
) -> None:
    """An odds ratio of r of one arm is 1 / r of the other, so that the two tests are one another's mirror."""
    own, theirs = round(x * candidate), round(y * stable)
    harm = odds_increments(
        candidate=candidate,
        candidate_bad=own,
        stable=stable,
        stable_bad=theirs,
        boundary=1.25,
        multiples=HARM_ODDS,
    )
    improvement = odds_increments(
        candidate=stable,
        candidate_bad=theirs,
        stable=candidate,
        stable_bad=own,
        boundary=1 / 1.25,
        multiples=[1 / each for each in HARM_ODDS],
    )
    assert improvement == pytest.approx(harm, rel=1e-7, abs=1e-7)


def test_all_alternatives_of_a_proof_are_better_than_what_is_accepted() -> None:
    assert all(each < 1 for each in ADVANCE_ODDS)
    assert all(each > 1 for each in HARM_ODDS)


@pytest.mark.parametrize(
    ("e_value", "text"),
    [(0.25, "0.25 : 1"), (3.14159, "3.14 : 1"), (340.2, "340 : 1"), (17_512.0, "17,500 : 1")],
)
def test_evidence_is_told_as_odds(e_value: float, text: str) -> None:
    assert as_odds(log(e_value)) == text


def test_what_is_staked_anew_is_never_more_than_was_kept_back() -> None:
    """The whole is worth 1 before anything is learned, however many steps there were."""
    sums: tuple[float, ...] = (0.0,) * 6
    for steps in range(12):
        assert harm_log_e(sums, steps) == pytest.approx(0.0, abs=1e-8)
        sums = staked_anew(sums, steps)


def test_harm_that_begins_late_does_not_have_to_outweigh_the_good_days_before() -> None:
    """1 % becomes 5 % at the third step, behind a day without harm at each of the two before."""
    good = {"candidate": 100, "candidate_bad": 1, "stable": 1900, "stable_bad": 19, "tolerance": 1.25}
    bad = {"candidate": 500, "candidate_bad": 25, "stable": 1500, "stable_bad": 15, "tolerance": 1.25}

    def looks_until_shown(stake: bool) -> int:
        sums: tuple[float, ...] = (0.0,) * 6
        for step in range(2):
            for _ in range(288):
                sums = added(sums, harm_increments(**good))  # type: ignore[arg-type]
            sums = staked_anew(sums, step) if stake else sums
        for look in range(1, 500):
            sums = added(sums, harm_increments(**bad))  # type: ignore[arg-type]
            if (harm_log_e(sums, 2) if stake else mixed_log_e(sums)) >= log(400):
                return look
        raise AssertionError("never shown")

    assert looks_until_shown(stake=True) <= 3
    assert looks_until_shown(stake=False) >= 10


def test_evidence_with_stakes_for_later_steps_is_worth_no_more_than_one_where_nothing_is_wrong() -> None:
    """E[e] <= 1 at the boundary, over two looks with a step between them, by enumeration."""
    look = {"candidate": 6, "stable": 14, "tolerance": 1.0}
    expected = 0.0
    for first in range(4):
        for second in range(4):
            weight = exp(_chance(first) + _chance(second))
            sums = added((0.0,) * 6, harm_increments(**look, candidate_bad=first, stable_bad=3 - first))  # type: ignore[arg-type]
            sums = staked_anew(sums, 0)
            sums = added(sums, harm_increments(**look, candidate_bad=second, stable_bad=3 - second))  # type: ignore[arg-type]
            expected += weight * exp(harm_log_e(sums, 1))
    assert expected == pytest.approx(1.0, abs=1e-6)


def _chance(marked: int) -> float:
    """log of the chance that so many of 3 marks fall on 6 of 20."""
    return log_choose(6, marked) + log_choose(14, 3 - marked) - log_choose(20, 3)
