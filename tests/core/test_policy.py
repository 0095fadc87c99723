from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from rollout.core.change import ChangeKind, compare
from rollout.core.document import Place
from rollout.core.finding import Finding, Severity, fill
from rollout.core.manifest import AdapterManifest
from rollout.core.policy import (
    CheckedAt,
    Need,
    Rule,
    Waiver,
    applicable,
    check,
    waive,
)
from rollout.core.validation import Validation
from rollout.integrations.cel import evaluator

NOW = datetime(2026, 11, 22, 23, 59, tzinfo=UTC)


def rule(test: str = "true", **changes: Any) -> Rule:
    return Rule.model_validate(
        {
            "schema": "adapter-rollout/rule/v1",
            "id": "a-rule",
            "title": "A rule",
            "severity": "warn",
            "since": "0.1.0",
            "why": "because",
            "test": test,
            "message": "it is {x}",
            "remediation": "do it",
            "pointer": "/version",
            **changes,
        }
    )


def found(test: str, **inputs: Any) -> Finding | None:
    findings = check([rule(test)], inputs, evaluator, file="m.yaml")
    return findings[0] if findings else None


def test_a_rule_that_holds_finds_nothing() -> None:
    assert found("x == 1", x=1) is None


def test_a_rule_that_does_not_hold_finds_with_its_own_severity_and_message() -> None:
    finding = found("x == 1", x=2)
    assert finding is not None
    assert (finding.rule, finding.severity, finding.message) == ("a-rule", Severity.WARN, "it is 2")
    assert not finding.blocks


@pytest.mark.parametrize(
    ("test", "reason"),
    [
        ("m.missing == 1", "there is no field 'missing'"),
        ("nobody == 1", "Undefined variable"),
        ("1 / 0 == 1", "division by zero"),
        ("m.a < 'x'", "No such overload"),
        ("m.none.deeper == 1", "No such overload"),
        ("m.a", "its answer is int, not true or false"),
        ("null", "its answer is NoneType"),
        ("'true'", "its answer is str"),
        ("(((", "parse"),
        ("[1, 2].all(x, x.y)", "overload"),
    ],
)
def test_a_rule_that_cannot_be_evaluated_blocks_whatever_its_severity(test: str, reason: str) -> None:
    finding = found(test, m={"a": 1, "none": None})
    assert finding is not None
    assert finding.message.startswith("the rule could not be evaluated: ")
    assert finding.message.endswith("/rule.yaml)")
    assert reason in finding.message
    assert finding.blocks


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=40))
def test_no_expression_does_more_than_pass_find_or_block(test: str) -> None:
    finding = check([rule().model_copy(update={"test": test})], {"x": 1}, evaluator, file="m.yaml")
    assert len(finding) <= 1


@pytest.mark.parametrize(
    ("test", "reason"),
    [
        ("l.all(x, l.all(y, l.all(z, true)))", "nested 3 deep"),
        ("l.all(x, (l).all (y, l . exists(z, true)))", "nested 3 deep"),
        ("l.map(x, l).map(x, x.size()).size() > 0", "more than one map or filter"),
        (" && ".join(["l.all(x, true)"] * 5), "5 comprehensions"),
    ],
)
def test_an_expression_that_could_run_for_long_is_refused(test: str, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        rule(test)


@pytest.mark.parametrize(
    "test",
    [
        "l.all(x, x.all(y, true)) && l.exists(x, true)",
        "s == 'l.all(x, l.all(y, l.all(z, (' || s == \".map(.map(\"",
        "((((l.all(x, true)))))",
    ],
)
def test_an_expression_that_ends_soon_is_allowed(test: str) -> None:
    assert rule(test).test == test


def test_even_a_panic_in_the_evaluator_blocks() -> None:
    from rollout.integrations import cel

    class Panic(BaseException):
        pass

    class Broken(Mapping[str, object]):
        def __getitem__(self, key: str) -> object:
            raise Panic("boom")

        def __iter__(self) -> Any:
            raise Panic("boom")

        def __len__(self) -> int:
            return 1

    with pytest.raises(ValueError, match="boom"):
        cel.evaluator(Broken())("true")


def test_a_placeholder_without_an_input_reads_as_a_question_mark() -> None:
    assert fill("{a.b} and {c}", {"a": {"b": [1, 2, 3, 4, 5, 6]}}) == "1, 2, 3, 4 and 2 more and ?"


def test_a_part_that_speaks_of_empty_lists_is_left_out() -> None:
    assert fill("bad: {a}; worse: {b}", {"a": [], "b": ["x"]}) == "worse: x"
    assert fill("bad: {a}; worse: {b}", {"a": [], "b": []}) == "bad: none; worse: none"


def waiver(**changes: Any) -> Waiver:
    fields = {"rule": "a-rule", "manifest": "bot", "reason": "r", "owner": "a", "approver": "b"}
    return Waiver.model_validate({**fields, "expires": "2026-11-23", **changes})


BLOCKING = Finding(
    rule="a-rule",
    severity=Severity.BLOCK,
    message="m",
    remediation="r",
    file="m.yaml",
    pointer="",
    place=Place(1, 1),
)


def test_a_waiver_excuses_its_rule_for_its_adapter_until_its_day() -> None:
    (finding,) = waive([BLOCKING], [waiver()], name="bot", now=NOW)
    assert (finding.waived_by, finding.waiver_reason) == ("b", waiver().reason)
    assert finding.waiver_expires == waiver().expires
    assert not finding.blocks


@pytest.mark.parametrize("changes", [{"expires": "2026-11-22"}, {"manifest": "other"}, {"rule": "other"}])
def test_a_waiver_that_has_expired_or_speaks_of_something_else_excuses_nothing(
    changes: dict[str, str],
) -> None:
    (finding,) = waive([BLOCKING], [waiver(**changes)], name="bot", now=NOW)
    assert finding.blocks


def test_a_rule_that_could_not_be_evaluated_cannot_be_waived() -> None:
    undecided = found("nobody")
    assert undecided is not None
    (finding,) = waive([undecided], [waiver()], name="bot", now=NOW)
    assert finding.blocks


def test_nobody_approves_their_own_waiver() -> None:
    with pytest.raises(ValidationError, match="someone other than its owner"):
        waiver(approver="A")


def test_rules_of_the_release_are_added_at_release_and_none_is_dropped() -> None:
    rules = (rule(), rule(id="late", stage="release"))
    at_pull = applicable(rules, at=CheckedAt.PULL_REQUEST, absent=frozenset(), revert=False)
    at_release = applicable(rules, at=CheckedAt.RELEASE, absent=frozenset(), revert=False)
    assert [each.id for each in at_pull] == ["a-rule"]
    assert [each.id for each in at_release] == ["a-rule", "late"]


def test_only_a_rule_that_says_so_is_left_out_for_a_revert_or_an_absent_input() -> None:
    rules = (rule(), rule(id="fresh", exempt_reverts=True), rule(id="bump", needs=["previous"]))
    left = applicable(rules, at=CheckedAt.RELEASE, absent=frozenset({Need.PREVIOUS}), revert=True)
    assert [each.id for each in left] == ["a-rule"]


def test_a_validation_with_a_blocking_finding_is_blocked() -> None:
    assert Validation(checked=("m",), rulebook=(rule(),), findings=(BLOCKING,)).blocked
    assert not Validation(checked=("m",), rulebook=(rule(),)).blocked


def manifest(version: str, digest: str = "a" * 64) -> AdapterManifest:
    fields: dict[str, Any] = {
        "schema": "adapter-rollout/manifest/v1",
        "name": "bot",
        "use_case": "s",
        "task": "t",
        "version": version,
        "base": {
            "name": "b",
            "repo": "r",
            "revision": "1" * 40,
            "quantization": "none",
            "dtype": "bfloat16",
            "tokenizer_sha256": "a" * 64,
            "chat_template_sha256": "a" * 64,
        },
        "artifact": {"uri": "x", "files": {"f": digest}, "rank": 1, "alpha": 1, "target_modules": ["q"]},
        "lineage": {
            "parent": None,
            "dataset": {"name": "d", "sha256": "a" * 64},
            "training_commit": "1" * 40,
            "inference_code": "1",
        },
        "evaluation": {"suite": "s"},
        "rollout": {"plan": "p"},
        "risk": {"tier": "low", "data_fresh_until": "2027-01-01", "license": "MIT"},
        "owner": {"team": "t", "escalation": "e", "review_every_days": 1},
        "change": {"purpose": "p"},
    }
    return AdapterManifest.model_validate(fields)


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        ("1.2.3", "1.2.3", ChangeKind.NONE),
        ("1.2.3", "1.2.4", ChangeKind.PATCH),
        ("1.2.3", "1.3.0", ChangeKind.MINOR),
        ("1.9.9", "1.10.0", ChangeKind.MINOR),
        ("1.2.3", "2.0.0", ChangeKind.MAJOR),
        ("1.10.0", "1.9.0", ChangeKind.INVALID),
        ("2.0.0", "1.9.9", ChangeKind.INVALID),
    ],
)
def test_versions_are_compared_as_numbers(before: str, after: str, kind: ChangeKind) -> None:
    assert compare(manifest(before), manifest(after)).kind is kind


def test_bytes_have_changed_if_what_is_served_has() -> None:
    assert compare(manifest("1.0.0"), manifest("1.0.1", "b" * 64)).bytes_changed
    assert not compare(manifest("1.0.0"), manifest("1.0.1")).bytes_changed
    assert compare(None, manifest("1.0.0")).kind is ChangeKind.FIRST
