"""Repetition: circles are found, prose and records are not."""

from __future__ import annotations

import pytest

from rollout.core.scorers import Scorers
from tests.support.suites import answer, golden, item

BY = Scorers(golden())


def repetition(text: str) -> float:
    return BY.score(item(), answer(text))["repetition_rate"]


@pytest.mark.parametrize(
    "text",
    [
        "!" * 64,
        "hahaha" * 20,
        "the the the the " * 8,
        "I will refund you. " * 10,
        "返金します。" * 10,
        "환불해 드립니다. " * 10,
    ],
)
def test_a_circle_is_found(text: str) -> None:
    assert repetition(text) > 0.8


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Yes.",
        "no no no",
        '{"intent":"refund","priority":"high"}',
        "Your order left our warehouse on Monday and should reach you within three working days.",
        "ご注文の品は月曜日に倉庫を出ました。三日以内にお届けします。",
    ],
)
def test_prose_and_records_do_not_turn_in_circles(text: str) -> None:
    assert repetition(text) == 0


def test_a_circle_at_the_end_counts_by_its_share() -> None:
    told = "We looked into your case today. "
    assert (
        0.2 < repetition(told + "thank you so much " * 3) < 0.6 < repetition(told + "thank you so much " * 20)
    )


@pytest.mark.parametrize("text", ["ab" * 100_000, "abc" * 7 + "x" * 100_000, "!?" * 7 + " " + "ab!" * 50_000])
def test_a_long_answer_is_read_to_its_end(text: str) -> None:
    assert 0 <= repetition(text) <= 1
