"""Records of questions: which lines are read, how they are timed, and what is said of those that are not."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.core.document import DocumentErrors
from rollout.core.shadow.question import Question, at_their_times, read_questions
from rollout.errors import Unreadable

BODY = {"model": "x", "messages": [{"role": "user", "content": "hi"}]}


def read(*lines: Any) -> tuple[Question, ...]:
    content = b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
    return read_questions(content, "record.jsonl")


def told(*lines: Any) -> list[tuple[int, str]]:
    with pytest.raises(DocumentErrors) as caught:
        read(*lines)
    assert {problem.source for problem in caught.value.problems} == {"record.jsonl"}
    return [(problem.place.line, problem.message) for problem in caught.value.problems]


def test_plain_bodies_are_chats_or_completions() -> None:
    chat, completion = read(BODY, b"", {"prompt": "Once"})
    assert (chat.id, chat.path, chat.at) == ("line-1", "/v1/chat/completions", None)
    assert (completion.id, completion.path) == ("line-3", "/v1/completions")
    assert json.loads(completion.body) == {"model": "any", "prompt": "Once"}


def test_lines_of_a_batch_keep_their_ids() -> None:
    (question,) = read({"custom_id": "req-7", "method": "POST", "url": "/v1/chat/completions", "body": BODY})
    assert (question.id, question.path) == ("req-7", "/v1/chat/completions")
    assert json.loads(question.body) == BODY


@pytest.mark.parametrize("name", ["timestamp", "at", "time", "ts", "created_at"])
def test_times_are_unix_seconds_or_iso_and_no_part_of_the_body(name: str) -> None:
    first, second = read({**BODY, name: 1_772_366_400.5}, {**BODY, name: "2026-03-01T12:00:01Z"})
    assert (first.at, second.at) == (1_772_366_400.5, 1_772_366_401.0)
    assert json.loads(first.body) == BODY


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"{", "this is not JSON"),
        (b'{"model": NaN}', "this is not JSON"),
        (b"[" * 100_000, "this is not JSON"),
        ([], "a line must be an object: a request body, or one of a batch"),
        ({"model": "x"}, "the body asks nothing: it needs messages, or a prompt for /v1/completions"),
        ({"custom_id": "a", "body": []}, "body must be an object"),
        ({"url": "/v1/completions", "body": BODY}, "the body asks nothing"),
        ({"url": "/v1/responses", "body": BODY}, "'/v1/responses' cannot be asked again"),
        ({"method": "GET", "url": "/v1/chat/completions", "body": BODY}, "method must be POST"),
        ({**BODY, "timestamp": "yesterday"}, "timestamp is no time in ISO 8601"),
        ({**BODY, "timestamp": 1_772_366_400_000}, "timestamp is no time in Unix seconds"),
        ({**BODY, "timestamp": True}, "timestamp is no time"),
        ({**BODY, "timestamp": 10**400}, "timestamp is no time in Unix seconds"),
    ],
)
def test_a_bad_line_is_told_with_its_number(line: Any, why: str) -> None:
    timed = isinstance(line, dict) and "timestamp" in line
    ((number, message),) = told({**BODY, "timestamp": 1} if timed else BODY, line)
    assert number == 2
    assert message.startswith(why)


def test_all_lines_say_when_they_came_or_none_does() -> None:
    assert told({**BODY, "at": 1}, b"", BODY) == [
        (3, "1 of 2 questions do not say when they came: all must, or none")
    ]


def test_an_id_that_was_there_before_is_told() -> None:
    one = {"custom_id": "a", "body": BODY}
    assert told(one, one) == [(2, "'a' was the id of a line before")]


def test_an_empty_record_is_not_read() -> None:
    with pytest.raises(Unreadable, match="there is no question in it"):
        read(b"", b"  ")


def test_a_hostile_record_is_not_told_line_by_line_for_ever() -> None:
    assert len(told(*[b"{"] * 500)) == 20


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=50))
def test_questions_come_in_the_order_and_at_the_distances_of_their_times(times: list[float]) -> None:
    questions = [Question(id=str(n), path="", body=b"", at=at) for n, at in enumerate(times)]
    due = at_their_times(questions, None)
    assert [after for after, _ in due] == sorted(at - min(times) for at in times)
    assert sorted(question.id for _, question in due) == sorted(question.id for question in questions)


def test_a_rate_takes_the_place_of_times_and_without_either_nothing_can_be_asked() -> None:
    questions = [Question(id=str(n), path="", body=b"", at=None) for n in range(3)]
    assert [after for after, _ in at_their_times(questions, 2.0)] == [0.0, 0.5, 1.0]
    with pytest.raises(ValueError, match="does not say when its questions came"):
        at_their_times(questions, None)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    with suppress(DocumentErrors, Unreadable):
        assert read_questions(content, "x")
