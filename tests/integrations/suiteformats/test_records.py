"""Records of other tools: each with the names of its own fields."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rollout.core.scorers import Scorers
from rollout.core.suite import Item
from rollout.core.suiteimport import ImportedSuite, Match
from rollout.errors import Unreadable
from rollout.integrations.suiteformats import read_suite
from tests.support.suites import answer, golden


def read(*rows: Any, match: Match | None = None) -> ImportedSuite:
    return read_suite("\n".join(json.dumps(row) for row in rows).encode(), "s.jsonl", match=match)


def success(item: Item, text: str) -> float:
    return Scorers(golden(item)).score(item, answer(text))["success"]


CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Capital of France?"}]


def test_openai_evals_expect_what_includes_does() -> None:
    one, many = read({"input": CHAT, "ideal": "Paris"}, {"input": "2+2?", "ideal": ["4", "four"]}).items
    assert [turn.content for turn in one.turns] == ["Be brief.", "Capital of France?"]
    assert [success(one, text) for text in ("It is Paris.", "paris", "")] == [1, 0, 0]
    assert [success(many, text) for text in ("four", "It is 4.", "five")] == [1, 1, 0]


@pytest.mark.parametrize(
    ("match", "right", "wrong"),
    [
        (Match.EQUALS, " a.b ", "a.b c"),
        (Match.EQUALS, "(c)", "axb"),
        (Match.STARTS_WITH, "a.b and more", "so a.b"),
        (Match.STARTS_WITH, "(c) and more", "axb"),
        (Match.CONTAINS, "so (c)", "axb"),
    ],
)
def test_expected_answers_are_compared_as_asked(match: Match, right: str, wrong: str) -> None:
    (item,) = read({"input": "x?", "ideal": ["a.b", "(c)"]}, match=match).items
    assert (success(item, right), success(item, wrong)) == (1, 0)


@pytest.mark.parametrize(
    "row",
    [
        {"input": "Where?", "target": "there", "id": "w-1", "metadata": {"category": "places", "tags": ["t"]}},
        {"input": "Where?", "expected_output": "there", "id": "w-1", "category": "places", "tags": ["t"]},
        {"input": "Where?", "expected": "there", "id": "w-1", "metadata": {"slice": "places"}, "tags": ["t"]},
        {"question": "Where?", "answer": "there", "id": "w-1", "topic": "places", "tags": ["t", "t"]},
        {"messages": [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "there"}],
         "id": "w-1", "subject": "places", "tags": ["t"]},
    ],
)  # fmt: skip
def test_every_tool_has_its_own_names(row: dict[str, Any]) -> None:
    (item,) = read(row).items
    assert (item.id, item.slice, item.tags) == ("w-1", "places", ("t",))
    assert (item.turns[0].content, item.reference, item.expect.value) == ("Where?", "there", "text")


def test_an_expected_object_must_be_said_as_json() -> None:
    (item,) = read({"input": "Read it", "expected": {"a": 1}}).items
    assert [success(item, text) for text in ('{"a": 1}', '{"a": 2}', "a is 1")] == [1, 0, 0]


def test_samples_of_lm_eval_keep_their_prompt() -> None:
    row = {"doc_id": 7, "doc": {}, "target": " 4", "resps": [["4"]]}
    generated = {"gen_args_0": {"arg_0": "Q: 2+2?\nA:", "arg_1": {"until": ["\n"]}}}
    choice = {"gen_args_0": {"arg_0": "Q", "arg_1": " 4"}}
    found = read(
        row | {"arguments": generated}, row | {"arguments": [["Q: 3?", {}]]}, row | {"arguments": choice}
    )
    assert [(item.id, item.prompt, item.reference) for item in found.items] == [
        ("doc-7", "Q: 2+2?\nA:", " 4"),
        ("doc-7-2", "Q: 3?", " 4"),
    ]
    assert found.lost_cases == 1
    assert "multiple choice" in next(iter(found.summary))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ([1], "not an object"),
        ({"text": "x"}, "none of the fields"),
        ({"input": "x"}, "no expected answer"),
        ({"input": {"a": 1}, "expected": "x"}, "neither a text nor messages"),
        ({"input": "x", "target": "A", "choices": ["a", "b"]}, "multiple choice"),
        ({"input": [{"role": "tool", "content": "x"}], "target": "A"}, "messages.0.role"),
        ({"input": "x", "target": "  "}, "needs a reference"),
    ],
)
def test_a_case_that_cannot_be_taken_along_is_listed(row: Any, reason: str) -> None:
    found = read(row, {"input": "y", "ideal": "z"})
    assert (len(found.items), found.lost_cases) == (1, 1)
    (what, places), = found.summary.items()  # fmt: skip
    assert reason in what
    assert places == ["line 1"]


def test_fields_that_are_not_read_are_listed() -> None:
    found = read({"input": "x", "ideal": "y", "context": ["z"]}, {"input": "x", "ideal": "y", "context": []})
    assert found.summary == {"field context": ["line 1", "line 2"]}


def test_ids_are_their_own_where_they_can_be() -> None:
    rows = [{"input": "x", "ideal": "y", "id": id_} for id_ in ("a", "a", "no spaces", 5, None, "../x")]
    assert [item.id for item in read(*rows).items] == ["a", "a-2", "case-0003", "5", "case-0005", "case-0006"]


def test_a_list_in_one_json_file_is_read_too() -> None:
    found = read_suite(json.dumps([{"input": "x", "expected_output": "y"}]).encode(), "goldens.json")
    assert found.items[0].reference == "y"


@pytest.mark.parametrize(
    ("content", "name", "reason"),
    [
        (b'{"input": 1}\n{', "s.jsonl", "s.jsonl:2 is not JSON"),
        (b"[" * 200_000, "s.jsonl", "s.jsonl:1 is not JSON"),
        (b"{", "s.json", "is not JSON"),
        (b'{"a": 1}', "s.json", "no suite that is known"),
        (b"", "s.parquet", "ends in .parquet"),
        (b"", "noending", "no suite that is known"),
    ],
)
def test_a_file_that_is_no_suite_is_refused(content: bytes, name: str, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        read_suite(content, name)
