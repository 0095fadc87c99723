"""Blanks are found wherever they stand, and nothing else is."""

from __future__ import annotations

import pytest

from rollout.core.blanks import Blank, blank, blanks


def test_a_blank_is_found_with_its_pointer_and_what_is_wanted() -> None:
    data = {"risk": {"data_fresh_until": blank("the last day, e.g. 2027-01-31")}}
    assert blanks(data) == (
        Blank(pointer=("risk", "data_fresh_until"), wanted="the last day, e.g. 2027-01-31"),
    )


def test_blanks_come_in_the_order_of_the_document_and_from_lists_too() -> None:
    data = {"b": ["x", {"c": "TODO"}], "a": "TODO: why", "n": 1, "z": None}
    assert [found.pointer for found in blanks(data)] == [("b", 1, "c"), ("a",)]


def test_a_blank_that_says_nothing_is_a_blank_all_the_same() -> None:
    assert [found.wanted for found in blanks({"a": "TODO", "b": "TODO:", "c": " TODO - ask"})] == [
        "",
        "",
        "- ask",
    ]


def test_several_lines_are_one_blank() -> None:
    assert blanks({"a": "TODO: one\ntwo\n"})[0].wanted == "one\ntwo"


@pytest.mark.parametrize("text", ["TODOS", "TODO_LIST", "todo", "see TODO", "", "Todo: x"])
def test_a_text_that_only_resembles_a_blank_is_a_value(text: str) -> None:
    assert blanks({"a": text}) == ()


def test_a_key_is_no_blank() -> None:
    assert blanks({"TODO: name it": 1}) == ()
