"""Worst first: what fell, what is still wrong, what changed, what rose, what is the same."""

from __future__ import annotations

import pytest

from rollout.core.evaluation import Case, Reply, Scores, Side
from rollout.core.suite import Expect, Turn
from rollout.core.worst import Change, change, gain, worst_first
from tests.support.reports import faithful, sample_cases, sample_measured


def case(id_: str, before: Scores, after: Scores, texts: tuple[str, str] = ("x", "x")) -> Case:
    replies = {
        side: (Reply(text=text, completion_tokens=1, finish_reason="stop"),)
        for side, text in zip((Side.CHAMPION, Side.CANDIDATE), texts, strict=True)
    }
    return Case(
        id=id_,
        slice="s",
        expect=Expect.TEXT,
        messages=(Turn(role="user", content="?"),),
        replies=replies,
        scores={Side.CHAMPION: before, Side.CANDIDATE: after},
    )


@pytest.mark.parametrize(
    ("before", "after", "texts", "became"),
    [
        ({"success": 1.0}, {"success": 0.0}, ("x", "y"), Change.LOST),
        ({"success": 0.0}, {"success": 1.0}, ("x", "y"), Change.GAINED),
        ({"success": 0.0}, {"success": 0.0}, ("x", "y"), Change.WRONG),
        ({"success": 0.0}, {"success": 0.0}, ("x", "x"), Change.WRONG),
        ({"success": 1.0}, {"success": 1.0}, ("x", "y"), Change.CHANGED),
        ({"success": 1.0}, {"success": 1.0}, ("x", "x"), Change.SAME),
        ({"success": 1.0, "rouge_l": 1.0}, {"success": 1.0, "rouge_l": 0.2}, ("x", "y"), Change.CHANGED),
        ({"task_arithmetic": 1.0}, {"task_arithmetic": 0.0}, ("", ""), Change.LOST),
        ({"over_refusal_rate": 0.0}, {"over_refusal_rate": 1.0}, ("x", "y"), Change.LOST),
        ({}, {}, ("x", "x"), Change.SAME),
    ],
)
def test_what_became_of_a_case(before: Scores, after: Scores, texts: tuple[str, str], became: Change) -> None:
    assert change(case("a", before, after, texts), Side.CHAMPION) is became


def test_more_of_what_should_be_less_is_a_loss() -> None:
    assert gain(case("a", {"empty_rate": 0.0}, {"empty_rate": 1.0}), Side.CHAMPION) == -1


def test_what_fell_most_comes_first_and_what_is_the_same_last() -> None:
    cases = (
        case("same", {"success": 1.0}, {"success": 1.0}),
        case("gained", {"success": 0.0}, {"success": 1.0}, ("x", "y")),
        case("changed", {"success": 1.0}, {"success": 1.0}, ("x", "y")),
        case("wrong", {"success": 0.0}, {"success": 0.0}),
        case("fell-a-little", {"success": 1.0}, {"success": 0.5}, ("x", "y")),
        case("fell", {"success": 1.0}, {"success": 0.0}, ("x", "y")),
        case("changed-more", {"success": 1.0, "rouge_l": 1.0}, {"success": 1.0, "rouge_l": 0.5}, ("x", "y")),
    )
    measured = sample_measured(cases, [Side.CHAMPION, Side.CANDIDATE])
    order = ["fell", "fell-a-little", "wrong", "changed-more", "changed", "gained", "same"]
    assert [each.id for each in worst_first(measured)] == order


def test_no_case_is_lost_on_the_way() -> None:
    cases = sample_cases(5, faithful, 1)
    measured = sample_measured(cases, list(Side))
    assert sorted(each.id for each in worst_first(measured)) == sorted(each.id for each in cases)
