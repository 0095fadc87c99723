"""Slices: one broken part of a suite fails by name, though all the means are fine."""

from __future__ import annotations

from math import fsum

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.core.evaluation import Rules, Side
from rollout.core.gatefile import Gate, Margin, OnInconclusive, SliceLimits
from rollout.core.paired import exact_drop
from rollout.core.slices import slice_rows
from rollout.core.verdict import Outcome, Verdict
from tests.support.measurements import (
    BAD,
    OK,
    WITHIN_FIVE_POINTS,
    concluded,
    failures,
    measured,
    outcome,
    rules,
    verdict,
    with_scores,
)

PERFECT = measured(lambda _: OK)
LOOSE = Gate(vs_champion=Margin(max_loss=0.9))


def in_slices(required: bool = True, **limits: float) -> Rules:
    gate = Gate(slices=SliceLimits(**limits), required=required)
    return rules(gates={"exact_match": LOOSE, "json_compliance": gate})


def test_one_broken_slice_fails_by_name_though_the_gates_over_all_pass() -> None:
    found = measured(lambda number: BAD if number % 4 == 2 else OK)
    quality = concluded(found, rules(gates={"exact_match": LOOSE, "json_compliance": Gate(min=0.5)}))
    assert failures(quality) == ["slice/s2"]
    said = next(each for each in quality.verdicts if each.subject == "slice/s2")
    assert "fell from 100.0% to 0.0% of 30: 30 lost, 0 gained against the champion" in said.reason
    assert said.reason.endswith("after Holm) [i2, i6, i10, i14, i18 and 25 more]")
    assert (said.effect, said.samples) == (-1.0, (30, 30))
    assert outcome(quality) is Outcome.FAIL


def test_the_worst_slice_comes_first() -> None:
    found = measured(lambda number: BAD if number % 4 == 2 and number > 60 else OK)
    assert next(row.slice for row in slice_rows(found, rules())) == "s2"


def test_several_broken_slices_are_named_worst_first() -> None:
    found = measured(
        lambda number: BAD if (number % 4 == 1 and number < 60) or (number % 4 == 3 and number < 90) else OK
    )
    quality = concluded(found, rules(gates={"exact_match": LOOSE}))
    assert failures(quality) == ["slice/s3", "slice/s1"]
    assert [row.slice for row in quality.slices][:2] == ["s3", "s1"]


def test_a_loss_that_chance_explains_fails_no_slice() -> None:
    found = measured(lambda number: BAD if number in (2, 6, 10) else OK)
    said = verdict("slices", found)
    assert said.outcome is Outcome.PASS
    assert said.reason == (
        "no proven loss in 4 slices of 30 items; 7 lost answers in one would have been proof"
    )


def test_the_proof_holds_for_all_slices_together() -> None:
    """Six lost answers are proof where there is one slice, and chance among four."""
    six = {2, 6, 10, 14, 18, 22}
    alone = measured(lambda number: BAD if number in six else OK, n=30, slices=1)
    among = measured(lambda number: BAD if number in six else OK)
    assert failures(concluded(alone, rules(gates={"exact_match": LOOSE}))) == ["slice/s0"]
    assert failures(concluded(among, rules(gates={"exact_match": LOOSE}))) == []
    assert exact_drop(6, 0) < 0.05 < 4 * exact_drop(6, 0)


def test_tags_are_slices_too_and_an_item_may_stand_in_several() -> None:
    cases = tuple(
        each.model_copy(update={"tags": ("long",) if number % 3 == 0 else ()})
        for number, each in enumerate(measured(lambda n: BAD if n % 3 == 0 else OK).cases)
    )
    found = PERFECT.model_copy(update={"cases": cases})
    quality = concluded(found, rules(gates={"exact_match": LOOSE}))
    assert failures(quality)[0] == "slice/long"
    rows = {row.slice: row.n for row in quality.slices}
    assert rows == {"long": 40, "s0": 30, "s1": 30, "s2": 30, "s3": 30}


def test_slices_too_small_to_prove_anything_are_told_but_do_not_block() -> None:
    found = measured(lambda _: OK, slices=40)
    blind = verdict("slice/s1", found)
    assert (blind.outcome, blind.required) == (Outcome.INCONCLUSIVE, False)
    assert blind.reason == (
        "3 items are too few to prove a loss among 40 slices: the loss of all of them is seen, of some it is not"
    )
    assert outcome(concluded(found)) is Outcome.PASS


def tiny(items: int, lost: int, by: Rules) -> list[Verdict]:
    """The verdicts of 300 items, of which the first few are a slice that lost some."""
    found = measured(lambda number: BAD if number < lost else OK, n=300)
    cases = tuple(
        each.model_copy(update={"slice": "tiny"}) if number < items else each
        for number, each in enumerate(found.cases)
    )
    return list(concluded(found.model_copy(update={"cases": cases}), by).verdicts)


@pytest.mark.parametrize("items", [2, 3, 4])
def test_a_slice_that_lost_every_answer_fails_however_small_it_is(items: int) -> None:
    said = [each for each in tiny(items, items, rules()) if each.subject == "slice/tiny"]
    assert [(each.outcome, each.required) for each in said] == [(Outcome.FAIL, True)]
    assert f"fell from 100.0% to 0.0% of {items}" in said[0].reason
    assert "too few for a proof, yet all of them: a human must look" in said[0].reason


@pytest.mark.parametrize(("items", "lost"), [(1, 1), (3, 2)])
def test_a_small_slice_that_lost_less_stays_a_visible_note(items: int, lost: int) -> None:
    said = [each for each in tiny(items, lost, rules()) if each.subject == "slice/tiny"]
    assert [(each.outcome, each.required) for each in said] == [(Outcome.INCONCLUSIVE, False)]


def test_a_slice_that_was_always_wrong_has_not_lost_its_answers() -> None:
    found = measured(lambda n: float(n % 40 != 1), lambda n: float(n % 40 != 1), slices=40)
    assert failures(concluded(found)) == []


@pytest.mark.parametrize("warns", [False, True])
def test_a_slice_too_small_to_show_the_loss_that_a_gate_limits_is_not_settled(warns: bool) -> None:
    by = in_slices(max_loss=0.1)
    by = by.model_copy(update={"on_inconclusive": OnInconclusive.WARN}) if warns else by
    said = next(each for each in tiny(4, 0, by) if each.subject == "slices/json_compliance")
    assert (said.outcome, said.required) == (Outcome.INCONCLUSIVE, not warns)
    assert (
        said.reason == "valid JSON in slices: a loss of 10.0 points needs 29 items in each to show [tiny (4)]"
    )


def test_slices_that_can_show_the_loss_pass() -> None:
    found = measured(lambda _: OK)
    assert verdict("slices/json_compliance", found, in_slices(max_loss=0.1)).outcome is Outcome.PASS


def test_lost_answers_of_one_cluster_are_no_proof_and_none_is_promised() -> None:
    found = measured(lambda n: BAD if n < 100 else OK, n=299, slices=1)
    cases = tuple(
        each.model_copy(update={"cluster": "one customer"}) if number < 100 else each
        for number, each in enumerate(found.cases)
    )
    said = verdict("slices", found.model_copy(update={"cases": cases}))
    assert (said.outcome, said.reason) == (Outcome.PASS, "no proven loss in 1 slices of 299 items")


def test_no_pair_at_all_is_no_data() -> None:
    alone = with_scores(PERFECT, lambda _, side, scores: scores.clear() if side is Side.CANDIDATE else None)
    said = verdict("slices", alone)
    assert (said.outcome, said.required) == (Outcome.NO_DATA, True)


# What a gate asks of every slice.


def test_a_limit_in_slices_names_the_slices_that_break_it_worst_first() -> None:
    found = measured(
        lambda n: BAD if (n % 4 == 2 and n < 20) or (n % 4 == 1 and n < 80) else OK, lambda _: BAD
    )
    said = verdict("slices/json_compliance", found, in_slices(min=0.9))
    assert said.outcome is Outcome.FAIL
    assert said.reason == (
        "valid JSON in slices, at least 90.0%: s1: 33.3% of 30 items; s2: 83.3% of 30 items"
    )


def test_a_maximum_in_slices_is_broken_from_above() -> None:
    found = with_scores(
        PERFECT, lambda n, _, scores: scores.update(truncated_rate=float(n % 4 == 3 and n < 40))
    )
    by = rules(gates={"exact_match": LOOSE, "truncated_rate": Gate(slices=SliceLimits(max=0.1))})
    said = verdict("slices/truncated_rate", found, by)
    assert said.outcome is Outcome.FAIL
    assert "at most 10.0%: s3: 33.3% of 30 items" in said.reason


def test_every_slice_within_its_limit_passes_and_the_worst_is_told() -> None:
    found = measured(lambda number: BAD if number % 4 == 2 and number < 12 else OK)
    said = verdict("slices/json_compliance", found, in_slices(min=0.9))
    assert (said.outcome, said.reason) == (
        Outcome.PASS,
        "valid JSON in 4 slices: worst s2 with 90.0%",
    )


def test_a_loss_in_a_slice_fails_only_where_it_is_proven_to_reach_beyond_the_limit() -> None:
    broken = measured(lambda number: BAD if number % 4 == 2 and number < 80 else OK)
    said = verdict("slices/json_compliance", broken, in_slices(max_loss=0.3))
    assert said.outcome is Outcome.FAIL
    assert said.reason.startswith(
        "valid JSON in slices, loss at most 30.0 points: s2: −66.7 points [i2, i6, i10"
    )
    slightly = measured(lambda number: BAD if number % 4 == 2 and number < 30 else OK)
    assert verdict("slices/json_compliance", slightly, in_slices(max_loss=0.2)).outcome is Outcome.PASS


def test_a_loss_limit_without_anything_to_compare_with_is_no_data() -> None:
    def change(number: int, side: Side, scores: dict[str, float]) -> None:
        if side is Side.CANDIDATE:
            scores["similarity"] = 1.0

    found = with_scores(PERFECT, change)
    by = rules(gates={"exact_match": LOOSE, "similarity": Gate(slices=SliceLimits(max_loss=0.1))})
    said = verdict("slices/similarity", found, by)
    assert said.outcome is Outcome.NO_DATA
    assert said.reason == "semantic similarity has nothing to be compared with in s0, s1, s2, s3"


def test_a_slice_that_lacks_values_of_the_candidate_is_no_data() -> None:
    def change(number: int, side: Side, scores: dict[str, float]) -> None:
        if side is Side.CANDIDATE and number % 4 == 2:
            del scores["json_compliance"]

    said = verdict("slices/json_compliance", with_scores(PERFECT, change), in_slices(min=0.5))
    assert said.outcome is Outcome.NO_DATA
    assert "not measured for 30 answers of the candidate [i2, i6, " in said.reason


def test_a_limit_in_slices_on_what_is_never_measured_is_no_data() -> None:
    by = rules(gates={"exact_match": LOOSE, "toxicity": Gate(slices=SliceLimits(max=0.1))})
    said = verdict("slices/toxicity", PERFECT, by)
    assert (said.outcome, said.reason) == (Outcome.NO_DATA, "toxicity was not measured in any slice")


@pytest.mark.parametrize("required", [True, False])
def test_a_limit_in_slices_is_as_required_as_its_gate(required: bool) -> None:
    found = measured(lambda number: BAD if number % 4 == 2 and number < 12 else OK)
    for by in (in_slices(required, min=0.95), in_slices(required, min=0.5)):
        assert verdict("slices/json_compliance", found, by).required is required


# Properties.


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=80),
    st.integers(1, 6),
)
def test_rows_count_every_item_once_and_come_worst_first(
    answers: list[tuple[bool, bool]], slices: int
) -> None:
    found = measured(
        lambda n: float(answers[n][0]), lambda n: float(answers[n][1]), n=len(answers), slices=slices
    )
    rows = slice_rows(found, rules(gates={"exact_match": WITHIN_FIVE_POINTS}))
    assert sum(row.n for row in rows) == len(answers)
    assert sum(row.lost for row in rows) == sum(was and not now for now, was in answers)
    assert sum(row.gained for row in rows) == sum(now and not was for now, was in answers)
    effects = [(row.gained - row.lost) / row.n for row in rows]
    assert effects == sorted(effects)
    overall = fsum(row.success[Side.CANDIDATE] * row.n for row in rows) / len(answers)
    assert overall == pytest.approx(sum(now for now, _ in answers) / len(answers))
    assert all(0 < row.p <= 1 for row in rows)
