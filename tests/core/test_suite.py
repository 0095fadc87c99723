"""Suites and their items: what cannot be meant is refused, with its reason."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from rollout.core.document import DocumentErrors
from rollout.core.suite import Item, Suite, check_fit, digest_of, read_items
from rollout.errors import Unreadable
from tests.support.suites import golden, item

SUITE = {
    "schema": "adapter-rollout/suite/v1",
    "name": "s",
    "items": "s.jsonl",
    "max_tokens": 64,
    "gates": "g",
}


def line(**changes: Any) -> bytes:
    given: dict[str, Any] = {"id": "a", "slice": "s", "reference": "yes"}
    if "prompt" not in changes:
        given["messages"] = [{"role": "user", "content": "is it?"}]
    return json.dumps(given | changes).encode()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"messages": []}, "either messages or a prompt"),
        ({"messages": [{"role": "user", "content": "x"}], "prompt": "y"}, "either messages or a prompt"),
        ({"messages": [{"role": "assistant", "content": "hi"}]}, "last message must be the user's"),
        ({"prompt": ""}, "at least 1"),
        ({"reference": " "}, "expects text needs a reference"),
        ({"reference": " ", "expect": "json"}, "expects json needs a reference"),
        ({"expect": "assert"}, "needs some"),
        ({"expect": "anything"}, "'json', 'refusal', 'text' or 'assert'"),
        ({"assert": [{"type": "similar", "value": "x"}]}, "pattern"),
        ({"assert": [{"type": "regex", "value": "(a"}]}, "no pattern here"),
        ({"id": "no spaces"}, "pattern"),
        ({"slice": "two\nlines"}, "pattern"),
        ({"tags": ["two\nlines"]}, "pattern"),
        ({"weight": 2}, "Extra inputs"),
    ],
)
def test_an_item_that_cannot_be_scored_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(DocumentErrors) as refused:
        read_items(b"\n" + line(**changes), "golden.jsonl")
    (problem,) = refused.value.problems
    assert reason in problem.message
    assert (problem.source, problem.place and problem.place.line) == ("golden.jsonl", 2)


def test_an_item_has_all_its_parts() -> None:
    (found,) = read_items(
        line(
            prompt="2 + 2 =",
            tags=["sums", "short"],
            cluster="arithmetic",
            expect="assert",
            **{"assert": [{"type": "contains", "value": "4"}], "schema": {"type": "integer"}},
        ),
        "golden.jsonl",
    )
    assert (found.tags, found.cluster) == (("sums", "short"), "arithmetic")
    assert [(turn.role, turn.content) for turn in found.turns] == [("user", "2 + 2 =")]
    assert found.response_schema == {"type": "integer"}
    assert Item.model_validate_json(found.model_dump_json(by_alias=True)) == found


def test_a_conversation_is_asked_as_it_is() -> None:
    assert item().turns == item().messages


def test_repeats_of_a_greedy_answer_are_refused() -> None:
    with pytest.raises(ValidationError, match="every repeat is the same answer and would measure nothing"):
        Suite.model_validate(SUITE | {"repeats": 3})
    sampled = Suite.model_validate(SUITE | {"repeats": 3, "sampling": {"temperature": 0.7, "seed": 5}})
    assert (sampled.repeats, sampled.sampling.temperature, sampled.sampling.seed) == (3, 0.7, 5)
    assert Suite.model_validate(SUITE).sampling.temperature == 0


@pytest.mark.parametrize("field", ["champion_margin", "confidence", "seed", "on_inconclusive"])
def test_how_answers_are_judged_is_no_part_of_a_suite(field: str) -> None:
    with pytest.raises(ValidationError, match=field):
        Suite.model_validate(SUITE | {field: 0.9})


def test_json_without_anything_to_compare_is_refused() -> None:
    of = golden()
    with pytest.raises(Unreadable, match="neither fields nor a response_schema: a"):
        check_fit(of.suite, [item(expect="json", reference="{}")], of.gates, "s.yaml")
    check_fit(of.suite, [item(expect="json", reference="{}", schema={"type": "object"})], of.gates, "s.yaml")


def test_items_keep_their_order_and_blank_lines_are_skipped() -> None:
    items = read_items(line(id="b") + b"\n\n" + line(id="a") + b"\n", "golden.jsonl")
    assert [each.id for each in items] == ["b", "a"]


def test_every_bad_line_is_named_at_once_with_file_and_line() -> None:
    content = b"\n".join(
        [line(), b"{not json", line(id="a"), line(id="c", slcie="typo"), line(id="d", messages=[])]
    )
    with pytest.raises(DocumentErrors) as caught:
        read_items(content, "golden.jsonl")
    text = caught.value.message
    assert "golden.jsonl:2:1" in text
    assert "golden.jsonl:3:1: /id: 'a' is also the id of line 1" in text
    assert "golden.jsonl:4:1: /slcie" in text
    assert "golden.jsonl:5:1: " in text


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_an_empty_suite_proves_nothing(content: bytes) -> None:
    with pytest.raises(Unreadable, match="an empty suite proves nothing"):
        read_items(content, "golden.jsonl")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"items": "../secrets.jsonl"}, "pattern"),
        ({"items": "/etc/passwd"}, "pattern"),
        ({"items_sha256": "123"}, "pattern"),
        ({"latency": {"samples": 1}}, "greater than or equal to 4"),
        ({"surprise": 1}, "Extra inputs"),
    ],
)
def test_a_suite_that_cannot_be_meant_is_refused(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        Suite.model_validate(SUITE | change)


def test_the_digest_sees_where_one_part_ends() -> None:
    assert digest_of(b"ab", b"c") != digest_of(b"a", b"bc")
