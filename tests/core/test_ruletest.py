"""The trials of rules: each must be able to fail, and to say why."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import JsonValue

from rollout.core.policy import Rule
from rollout.core.ruletest import Example, Kind, Patch, patched, try_rules
from rollout.integrations.cel import evaluator

COMPLETE: dict[str, Any] = {"x": 1, "list": [{"y": 2}], "deep": {"z": None}}


def rule(name: str, test: str, **changes: Any) -> Rule:
    fields = {
        "schema": "adapter-rollout/rule/v1",
        "id": name,
        "title": "A rule",
        "severity": "block",
        "since": "0.1.0",
        "why": "because",
        "test": test,
        "message": "no",
        "remediation": "do",
        "pointer": "/x",
    }
    return Rule.model_validate({**fields, **changes})


def example(name: str, kind: Kind, **values: Any) -> Example:
    return Example(rule=name, kind=kind, source=f"{name}/{kind}", inputs={**COMPLETE, **values})


def complaints(*rules: Rule, examples: list[Example]) -> dict[str, str]:
    found = try_rules(rules, COMPLETE, examples, evaluator)
    return {f"{trial.rule}: {trial.what}": trial.complaint for trial in found if trial.complaint}


GOOD = [example("small", Kind.ALLOWED), example("small", Kind.DENIED, x=9)]


def test_a_rule_that_its_examples_hold_has_no_complaint() -> None:
    assert complaints(rule("small", "x < 5"), examples=GOOD) == {}


def test_a_rule_that_says_the_opposite_of_its_examples_fails_them() -> None:
    odd = [example("small", Kind.ALLOWED, x=9), example("small", Kind.DENIED)]
    assert complaints(rule("small", "x < 5"), examples=odd) == {
        "small: small/allowed": "allowed, and yet the rule finds: no",
        "small: small/denied": "denied, and yet the rule lets it pass",
        "small: its examples notice if the test is negated": "no example notices",
    }


def test_complete_inputs_that_fail_a_rule_are_all_that_is_told() -> None:
    rules = [rule("small", "x > 5"), rule("other", "x > 6"), rule("fine", "x == 1")]
    ((what, complaint),) = complaints(*rules, examples=GOOD).items()
    assert what == "small: the complete inputs, policies/rules/example.yaml, do not pass this rule"
    assert complaint == (
        "no (policies/rules/small/rule.yaml); so do other; "
        "no example was tried, since each is a change of these inputs"
    )


def test_a_denied_example_that_trips_another_rule_too_is_named() -> None:
    other = rule("tiny", "x < 3")
    tiny = [example("tiny", Kind.ALLOWED), example("tiny", Kind.DENIED, x=4)]
    found = complaints(rule("small", "x < 5"), other, examples=[*GOOD, *tiny])
    assert found == {
        "small: small/denied": "other rules find something too: tiny (no). Change the example so that it is in order "
        "for them, or where a blocking small says it already, add `after: [small]` to policies/rules/tiny/rule.yaml"
    }
    silent = rule("tiny", "x < 3", after=["small"])
    assert complaints(rule("small", "x < 5"), silent, examples=[*GOOD, *tiny]) == {}


def test_a_rule_that_comes_after_another_may_share_its_examples() -> None:
    other = rule("tiny", "x < 3", after=["small"])
    tiny = [example("tiny", Kind.ALLOWED), example("tiny", Kind.DENIED, x=4)]
    assert complaints(rule("small", "x < 5"), other, examples=[*GOOD, *tiny]) == {}


@pytest.mark.parametrize("left", Kind)
def test_a_rule_without_examples_of_both_kinds_is_held_to_nothing(left: Kind) -> None:
    only = [each for each in GOOD if each.kind is left]
    (complaint,) = complaints(rule("small", "x < 5"), examples=only).values()
    assert complaint == f"there is no {'denied' if left is Kind.ALLOWED else 'allowed'} example"


def test_a_denied_example_that_merely_could_not_be_evaluated_proves_nothing() -> None:
    found = complaints(rule("small", "x < 5"), examples=[GOOD[0], example("small", Kind.DENIED, x="nine")])
    assert found["small: small/denied"].startswith("the rule could not be evaluated: ")


@pytest.mark.parametrize(
    ("pointer", "value", "changed"),
    [
        ("/x", 2, {"x": 2}),
        ("/list/0/y", None, {"list": [{"y": None}]}),
        ("/deep/z", {"a": 1}, {"deep": {"z": {"a": 1}}}),
    ],
)
def test_a_patch_changes_what_it_names_and_leaves_the_rest(
    pointer: str, value: JsonValue, changed: dict[str, Any]
) -> None:
    before = repr(COMPLETE)
    assert patched(COMPLETE, Patch(set={pointer: value})) == {**COMPLETE, **changed}
    assert repr(COMPLETE) == before


@pytest.mark.parametrize("pointer", ["/nowhere", "/list/1/y", "/list/y", "/deep/z/a", "/x/y"])
def test_a_patch_that_leads_nowhere_is_refused(pointer: str) -> None:
    with pytest.raises(ValueError, match=f"nothing at {pointer}"):
        patched(COMPLETE, Patch(set={pointer: 1}))
