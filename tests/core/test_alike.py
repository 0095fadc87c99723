"""How like each other scores of one user are: sums over looks say what all scores together would."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from math import fsum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.core.alike import alike, moments_by_unit
from rollout.core.judging.scored import FEWEST_UNITS, Likeness, with_likeness

Scored = tuple[str, float]
LOOKS = st.lists(
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.floats(-1, 1, width=32)), max_size=12), max_size=6
)


def likeness(looks: Sequence[Sequence[Scored]]) -> Likeness:
    """As the judge has it of looks in which each user is put beside what he had before."""
    known: tuple[Likeness, ...] = (Likeness(),)
    before: dict[str, tuple[int, float]] = {}
    for look in looks:
        units = moments_by_unit(look)
        known = with_likeness(known, (alike(units, {unit: before.get(unit, (0, 0.0)) for unit in units}),))
        for unit, own in units.items():
            number, total = before.get(unit, (0, 0.0))
            before[unit] = (number + own.number, total + own.sum)
    return known[0]


@given(LOOKS)
def test_looks_one_by_one_say_what_all_scores_at_once_say(looks: list[list[Scored]]) -> None:
    whole = [each for look in looks for each in look]
    beside = [(one, other) for (u, one), (v, other) in permutations(whole, 2) if u == v]
    found = likeness(looks)
    assert (found.number, found.others) == (len(whole), len(beside))
    assert found.firsts == pytest.approx(fsum(one for one, _ in beside), abs=1e-4)
    assert found.products == pytest.approx(fsum(one * other for one, other in beside), abs=1e-4)


@given(LOOKS)
def test_scores_count_for_more_than_one_never_and_a_users_for_one_at_least(looks: list[list[Scored]]) -> None:
    found = likeness(looks)
    least = 1.0 if found.seen >= FEWEST_UNITS else 1.5
    assert least <= found.size(at_first=1.5) <= max(least, 2.0 * max(1, found.number))


def test_scores_of_users_who_always_give_the_same_count_as_one_each() -> None:
    looks = [[(user, place / 20) for place, user in enumerate("abcdefghijklmnopqrst")] for _ in range(7)]
    assert likeness(looks).size(at_first=1.5) == pytest.approx(7, rel=1e-3)
    assert likeness([[each for look in looks for each in look]]).size(at_first=1.5) == pytest.approx(
        7, rel=1e-3
    )


def test_scores_that_vary_by_anything_but_the_user_count_one_by_one() -> None:
    looks = [[(user, (place + look) % 4 / 3) for place, user in enumerate("abcdefgh")] for look in range(8)]
    assert likeness(looks).size(at_first=1.5) == 1.0


def test_a_user_a_score_tells_nothing_of_users_and_divides_by_nothing() -> None:
    found = likeness([[(f"{look}-{user}", user / 10) for user in range(9)] for look in range(3)])
    assert found.seen == 27
    assert found.size(at_first=1.5) == 1.0


def test_until_a_few_users_are_seen_it_is_assumed() -> None:
    """One user's scores are as like each other as those of any sample, and nobody can tell."""
    lone = likeness([[("a", 0.1), ("a", 0.9), ("a", 0.4)]] * 30)
    assert lone.seen == 1
    assert lone.size(at_first=1.5) == 1.5
    alike_ = likeness([[(user, 0.0 if user == "a" else 1.0) for user in "abcd"]] * 30)
    assert alike_.size(at_first=1.5) > 20, "what is seen of few is more than what is assumed"


def test_scores_that_are_all_equal_are_no_evidence_of_users() -> None:
    assert likeness([[(user, 1.0) for user in "abcdefgh"]] * 9).size(at_first=1.5) == 1.0


def test_those_that_were_asked_about_are_an_estimate_for_all() -> None:
    units = moments_by_unit([(user, 0.5) for user in "abcd" for _ in range(2)])
    some = alike(units, {"a": (2, 1.0), "b": (2, 1.0)})
    every = alike(units, dict.fromkeys("abcd", (2, 1.0)))
    assert some == every
    assert alike({}, {}).number == 0


def test_a_look_that_knows_no_users_changes_nothing() -> None:
    known = (likeness([[("a", 0.5), ("a", 1.0)]]),)
    assert with_likeness(known, ()) == known
