"""Assertions: each holds where it should, does not where it should not, and never of nothing."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from rollout.core.expectation import Assertion, Check
from rollout.core.scorers import Scorers, read_refusal
from rollout.core.scorers.assertions import holds
from tests.support.suites import answer, golden, item

TABLE: list[tuple[dict[str, Any], str, str]] = [
    ({"type": "equals", "value": "refund"}, " refund\n", "Refund"),
    ({"type": "contains", "value": "Refund"}, "a Refund now", "a refund now"),
    ({"type": "icontains", "value": "STRASSE"}, "die Straße", "der Weg"),
    ({"type": "contains-any", "value": ["a1", "b2"]}, "so b2", "so c3"),
    ({"type": "icontains-any", "value": ["A1", "B2"]}, "so b2", "so c3"),
    ({"type": "contains-all", "value": ["a1", "b2"]}, "b2, a1", "a1"),
    ({"type": "icontains-all", "value": ["A1", "b2"]}, "B2, a1", "a1"),
    ({"type": "starts-with", "value": "Dear"}, " Dear Ann", "Oh Dear"),
    ({"type": "regex", "value": r"^\d{3}$"}, "123", "1234"),
    ({"type": "regex", "value": r"(?i)order \d+"}, "your Order 12", "your order"),
    ({"type": "is-json"}, '{"a": 1}', 'so {"a": 1}'),
    ({"type": "is-json", "value": {"required": ["a"]}}, '{"a": 1}', "{}"),
    ({"type": "contains-json"}, 'so [1] and {"a": 1}', "so [1 and {a}"),
    ({"type": "contains-json", "value": {"type": "object"}}, 'so {"a": 1}', "so [1]"),
    ({"type": "is-refusal"}, "I can't help with that.", "I'm sorry to hear that."),
    ({"type": "rouge-l", "value": "the parcel is late"}, "the parcel is very late", "it is late"),
    ({"type": "rouge-l", "value": "the parcel is late", "threshold": 0.2}, "it is late", "where"),
]


@pytest.mark.parametrize(("form", "right", "wrong"), TABLE)
def test_an_assertion_holds_of_the_right_and_not_of_the_wrong(
    form: dict[str, Any], right: str, wrong: str
) -> None:
    turned = Assertion.model_validate(form | {"type": "not-" + form["type"]})
    plain = Assertion.model_validate(form)
    assert [holds(plain, text, read_refusal) for text in (right, wrong)] == [True, False]
    assert [holds(turned, text, read_refusal) for text in (right, wrong)] == [False, True]


@pytest.mark.parametrize(("form", "right", "wrong"), TABLE)
def test_nothing_holds_of_a_missing_answer(form: dict[str, Any], right: str, wrong: str) -> None:
    for type_ in (form["type"], "not-" + form["type"]):
        assert not holds(Assertion.model_validate(form | {"type": type_}), " \n", read_refusal)


def test_every_check_is_in_the_table() -> None:
    assert {form["type"] for form, _, _ in TABLE} == {check.value for check in Check}


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        ({"type": "similar", "value": "x"}, "type"),
        ({"type": "contains"}, "needs a text"),
        ({"type": "contains", "value": ""}, "needs a text"),
        ({"type": "contains", "value": ["x"]}, "needs a text"),
        ({"type": "contains-any", "value": []}, "needs a list"),
        ({"type": "contains-any", "value": [""]}, "needs a list"),
        ({"type": "is-json", "value": "x"}, "takes a JSON Schema"),
        ({"type": "is-refusal", "value": "x"}, "takes no value"),
        ({"type": "contains", "value": "x", "threshold": 0.5}, "takes no threshold"),
        ({"type": "regex", "value": "("}, "is no pattern here"),
        ({"type": "regex", "value": "(?=a)"}, "look-ahead"),
        ({"type": "regex", "value": r"(a)\1"}, "backreferences"),
        ({"type": "regex", "value": "a{1000}{1000}{1000}"}, "size limit"),
        ({"type": "regex", "value": "a" * 5000}, "4000 letters"),
    ],
)
def test_an_assertion_that_cannot_be_meant_is_refused(form: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        Assertion.model_validate(form)


@pytest.mark.parametrize("pattern", ["(a+)+$", "^(a|a)*$", "(.*)*x"])
def test_a_hostile_pattern_is_matched_in_linear_time(pattern: str) -> None:
    assert not holds(Assertion(type="regex", value=pattern), "a" * 50_000 + "b", read_refusal)


def test_brackets_without_end_are_searched_to_a_limit() -> None:
    assert not holds(Assertion(type="contains-json"), "[" * 200_000 + '{"a":' * 20_000, read_refusal)


def test_all_assertions_of_a_case_must_hold() -> None:
    of = item(
        expect="assert",
        reference="",
        **{"assert": [{"type": "contains", "value": "late"}, {"type": "not-icontains", "value": "sorry"}]},
    )
    by = Scorers(golden(of))
    said = [by.score(of, answer(text)) for text in ("it is late", "Sorry, it is late", "sorry", "")]
    assert [scores["assertion_rate"] for scores in said] == [1, 0, 0, 0]
    assert [scores["success"] for scores in said] == [1, 0, 0, 0]


def test_an_item_without_assertions_has_no_rate_of_them() -> None:
    assert "assertion_rate" not in Scorers(golden()).score(item(), answer("x"))


def test_a_refusal_that_the_suite_words_is_one_for_assertions_too() -> None:
    of = item(expect="assert", reference="", **{"assert": [{"type": "not-is-refusal"}]})
    by = Scorers(golden(of, refusals=["Out of scope"]))
    assert by.score(of, answer("Out of scope, sadly."))["assertion_rate"] == 0
    assert by.score(of, answer("Here you are."))["assertion_rate"] == 1
