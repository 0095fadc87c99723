"""The sample-ratio test never cries wolf, finds what is wrong soon, and complaints say what it is."""

from __future__ import annotations

import random
from math import comb, exp, inf, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.core.exposure import Exposure, exposure_complaint, percent, sample_ratio
from rollout.core.plan import Share

FIVE, QUARTER = Share.parse("5%"), Share.parse("25%")
SHARES = st.integers(1, 99_999).map(Share)


def seen(stable: int, candidate: int, both: int = 0, *, unkeyed: int = 0) -> Exposure:
    """So many users of each kind, with as few requests as that takes."""
    keyed = stable + candidate + 2 * both
    return Exposure(stable_users=stable, candidate_users=candidate, both=both, keyed=keyed, unkeyed=unkeyed)


def complaint(exposure: Exposure, share: Share = FIVE, **changes: object) -> str | None:
    limits = {"alpha": 0.001, "max_unkeyed": Share.parse("20%"), **changes}
    return exposure_complaint(exposure, share=share, **limits)  # type: ignore[arg-type]


# The test


@given(share=SHARES, users=st.integers(1, 12))
def test_the_evidence_expects_one_under_the_configured_share(share: Share, users: int) -> None:
    p = share.fraction
    expectation = sum(
        comb(users, x) * p**x * (1 - p) ** (users - x) * exp(sample_ratio(seen(users - x, x), share))
        for x in range(users + 1)
    )
    assert expectation == pytest.approx(1.0, rel=1e-6)


@given(share=SHARES, stable=st.integers(0, 40), candidate=st.integers(0, 40))
def test_one_more_user_leaves_the_expected_evidence_as_it_was(
    share: Share, stable: int, candidate: int
) -> None:
    """The martingale that lets ticks look again and again."""
    p = share.fraction
    after = p * exp(sample_ratio(seen(stable, candidate + 1), share)) + (1 - p) * exp(
        sample_ratio(seen(stable + 1, candidate), share)
    )
    assert after == pytest.approx(exp(sample_ratio(seen(stable, candidate), share)), rel=1e-6)


@pytest.mark.parametrize("share", ["1%", "5%", "25%", "50%"])
def test_three_hundred_looks_raise_no_more_false_alarms_than_alpha(share: str) -> None:
    dice, alpha, runs = random.Random(6), 0.05, 400
    alarms = sum(_alarms(dice, Share.parse(share), alpha) for _ in range(runs))
    assert 0 <= alarms <= alpha * runs


def _alarms(dice: random.Random, share: Share, alpha: float) -> bool:
    """Whether any of 300 looks, ten new users apart, is above the limit."""
    stable = candidate = 0
    for _ in range(300):
        given_it = sum(dice.random() < share.fraction for _ in range(10))
        candidate, stable = candidate + given_it, stable + 10 - given_it
        if sample_ratio(seen(stable, candidate), share) >= -log(alpha):
            return True
    return False


@pytest.mark.parametrize(("share", "soon"), [("1%", 800), ("5%", 200), ("25%", 50), ("50%", 30)])
def test_nobody_on_the_candidate_is_found_soon(share: str, soon: int) -> None:
    assert sample_ratio(seen(soon, 0), Share.parse(share)) > -log(0.001)
    assert sample_ratio(seen(soon // 3, 0), Share.parse(share)) < -log(0.001)


@pytest.mark.parametrize(("share", "soon"), [("1%", 5), ("5%", 7), ("25%", 15), ("50%", 30)])
def test_everybody_on_the_candidate_is_found_at_once(share: str, soon: int) -> None:
    assert sample_ratio(seen(0, soon), Share.parse(share)) > -log(0.001)


@pytest.mark.parametrize(("shown", "users"), [(0.10, 600), (0.025, 1400), (0.04, 11_000)])
def test_a_wrong_share_is_found_and_the_right_one_is_not(shown: float, users: int) -> None:
    wrong = round(shown * users)
    assert sample_ratio(seen(users - wrong, wrong), FIVE) > -log(0.001)
    right = round(0.05 * users)
    assert sample_ratio(seen(users - right, right), FIVE) < 0


def test_at_either_end_one_user_on_the_wrong_version_is_a_proof() -> None:
    assert sample_ratio(seen(1, 10_000), Share.FULL) == inf
    assert sample_ratio(seen(10_000, 1), Share.ZERO) == inf
    assert sample_ratio(seen(10_000, 0, both=1), Share.ZERO) == inf
    assert sample_ratio(seen(0, 10_000), Share.FULL) == 0
    assert sample_ratio(seen(10_000, 0), Share.ZERO) == 0


def test_millions_of_users_are_no_trouble() -> None:
    assert sample_ratio(seen(9_500_000, 500_000), FIVE) < 0
    assert sample_ratio(seen(0, 10_000_000), Share(1)) < inf
    assert sample_ratio(seen(9_490_000, 510_000), FIVE) > 7


def test_who_got_the_candidate_was_given_it_whatever_else_he_got() -> None:
    assert sample_ratio(seen(90, 4, both=6), FIVE) == sample_ratio(seen(90, 10), FIVE)


# Complaints


def test_a_share_that_is_served_as_configured_draws_no_complaint() -> None:
    assert complaint(seen(950, 50, unkeyed=100)) is None
    assert complaint(seen(3, 0)) is None, "three users prove nothing"
    assert complaint(seen(0, 100), Share.FULL) is None
    assert complaint(seen(100, 0), Share.ZERO) is None


def test_a_wrong_share_is_told_with_its_counts_and_its_evidence() -> None:
    assert complaint(seen(0, 300)) == (
        "the candidate served 100% of users (300 of 300) where the flag says 5%"
        " (evidence of a mismatch: more than a million : 1)"
    )
    found = complaint(seen(2_000, 50), QUARTER)
    assert found is not None
    assert found.startswith("the candidate served 2.44% of users (50 of 2,050) where the flag says 25% ")


def test_one_user_on_stable_at_the_whole_is_told() -> None:
    found = complaint(seen(3, 97), Share.FULL)
    assert found == "the candidate served 97% of users (97 of 100) where the flag says 100%"
    assert complaint(seen(2, 98), Share.FULL) is None, "a moment in which one gateway did not trust its flags"
    assert complaint(seen(101, 9_899), Share.FULL) is not None
    assert complaint(seen(100, 9_900), Share.FULL) is None


def test_alpha_is_the_limit_of_the_evidence() -> None:
    evidence = sample_ratio(seen(110, 0), FIVE)
    assert complaint(seen(110, 0), alpha=exp(-evidence) * 1.01) is not None
    assert complaint(seen(110, 0), alpha=exp(-evidence) * 0.99) is None


def test_users_who_saw_both_versions_are_a_complaint_beyond_one_in_a_hundred_of_the_candidates() -> None:
    assert complaint(seen(9_500, 495, both=5)) is None
    assert complaint(seen(9_500, 494, both=6)) == (
        "6 of the candidate's 500 users were served by stable too, above the tolerated 1%"
    )
    assert complaint(seen(95, 3, both=2)) is None, "two are few"
    assert complaint(seen(95, 2, both=3)) is not None
    assert complaint(seen(0, 97, both=3), Share.FULL) is not None, "at the whole as anywhere else"


def test_requests_without_a_key_are_a_complaint_above_the_limit_and_below_the_whole() -> None:
    assert complaint(seen(76, 4, unkeyed=20)) is None
    assert complaint(seen(76, 4, unkeyed=21)) == (
        "20.8% of requests (21 of 101) had no key, above the plan's 20%"
    )
    assert complaint(seen(0, 80, unkeyed=1_000), Share.FULL) is None
    assert complaint(seen(80, 0, unkeyed=1), max_unkeyed=Share.ZERO) is not None
    assert complaint(seen(80, 4, unkeyed=999_999), max_unkeyed=Share.FULL) is None


def test_no_users_are_a_complaint_even_where_every_request_may_come_without_a_key() -> None:
    nobody = "none of 50 requests had a key, so that no user was dealt a version"
    assert complaint(seen(0, 0, unkeyed=50), max_unkeyed=Share.FULL) == nobody
    assert complaint(seen(0, 0, unkeyed=50), Share.FULL) is None


def test_no_request_without_a_key_may_be_the_candidates_below_the_whole() -> None:
    """The trap of a context without the rollout's kind, which gets whatever is listed first."""
    exposure = Exposure(
        stable_users=950, candidate_users=50, both=0, keyed=1_000, unkeyed=100, unkeyed_on_candidate=1
    )
    found = complaint(exposure)
    assert found == "the candidate answered 1 requests without a key, which below 100 % are stable's"
    assert (
        complaint(
            Exposure(stable_users=0, candidate_users=9, both=0, keyed=9, unkeyed=5, unkeyed_on_candidate=5),
            Share.FULL,
        )
        is None
    )
    with pytest.raises(ValueError, match="more requests without a key"):
        Exposure(stable_users=0, candidate_users=0, both=0, keyed=0, unkeyed=1, unkeyed_on_candidate=2)


@pytest.mark.parametrize("share", [Share.ZERO, FIVE, Share.FULL])
def test_no_requests_are_never_a_pass(share: Share) -> None:
    assert complaint(seen(0, 0), share) == "nobody was served yet by the flag as it was set"


def test_everything_that_is_wrong_is_told_in_one_sentence() -> None:
    found = complaint(seen(0, 100, both=100, unkeyed=1_000))
    assert found is not None
    assert [part.split()[0] for part in found.split("; ")] == ["the", "100", "76.9%"]


@pytest.mark.parametrize("field", ["stable_users", "candidate_users", "both", "keyed", "unkeyed"])
@pytest.mark.parametrize("count", [-1, 10**400])
def test_counts_that_nobody_can_count_are_no_exposure(field: str, count: int) -> None:
    counts = {"stable_users": 0, "candidate_users": 0, "both": 0, "keyed": 9, "unkeyed": 0, field: count}
    with pytest.raises(ValueError, match="below zero"):
        Exposure(**counts)


def test_users_without_requests_are_no_exposure() -> None:
    with pytest.raises(ValueError, match="users without requests"):
        Exposure(stable_users=1, candidate_users=0, both=1, keyed=2, unkeyed=9)


@given(part=st.integers(0, 10**7), more=st.integers(0, 10**7))
def test_percentages_are_within_their_whole(part: int, more: int) -> None:
    assert 0 <= float(percent(part, part + more).rstrip("%")) <= 100
