"""What the gateway reads in an answer that passes: every form, any chunks, and whatever an engine may write."""

from __future__ import annotations

import itertools
import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.core.metric import ErrorClass
from rollout.gateway import answer as answers
from rollout.gateway.answer import AnswerReader
from rollout.gateway.transcript import FINISH_REASONS

STREAM = [(b"content-type", b"text/event-stream; charset=utf-8")]
WHOLE = [(b"content-type", b"application/json")]


def read(*chunks: bytes, headers: Any = WHOLE, status: int = 200) -> AnswerReader:
    reader = AnswerReader()
    reader.start(status, headers)
    for chunk in chunks:
        reader.feed(chunk)
    reader.finish()
    return reader


def whole(value: Any, **how: Any) -> AnswerReader:
    return read(json.dumps(value).encode(), **how)


def events(*values: Any, done: bool = True) -> bytes:
    lines = [b"data: " + json.dumps(value).encode() + b"\n\n" for value in values]
    return b"".join([*lines, b"data: [DONE]\n\n"] if done else lines)


def stream(*values: Any, done: bool = True) -> AnswerReader:
    return read(events(*values, done=done), headers=STREAM)


def delta(reason: str | None = None, index: int = 0, **said: Any) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": said, "finish_reason": reason}]}


USAGE = {"prompt_tokens": 11, "completion_tokens": 7}


def test_a_whole_chat_answer() -> None:
    said = {"role": "assistant", "content": "It is billing."}
    found = whole({"choices": [{"index": 0, "message": said, "finish_reason": "stop"}], "usage": USAGE})
    assert (found.text, found.chars, found.finish_reason) == ("It is billing.", 14, "stop")
    assert (found.prompt_tokens, found.completion_tokens) == (11, 7)
    assert (found.complete, found.error, found.error_class) == (True, None, None)
    assert (found.streamed, found.first_token_at, found.inter_token_s) == (False, None, None)


def test_a_whole_completion() -> None:
    found = whole({"choices": [{"index": 0, "text": "yes", "finish_reason": "length"}]})
    assert (found.text, found.finish_reason, found.completion_tokens) == ("yes", "length", None)


def test_a_streamed_chat_answer() -> None:
    found = stream(
        delta(role="assistant", content=""),
        delta(content="It is "),
        delta(content="billing."),
        delta("stop"),
        {"choices": [], "usage": USAGE},
    )
    assert (found.text, found.finish_reason, found.complete, found.error) == (
        "It is billing.",
        "stop",
        True,
        None,
    )
    assert (found.prompt_tokens, found.completion_tokens, found.streamed) == (11, 7, True)


def test_the_times_of_tokens_are_those_of_events_that_carried_some() -> None:
    reader = AnswerReader()
    reader.start(200, STREAM)
    reader.feed(events(delta(role="assistant", content=""), done=False))
    assert reader.first_token_at is None
    begun = time.perf_counter()
    reader.feed(events(delta(content="a"), done=False))
    first = reader.first_token_at
    assert first is not None
    assert begun <= first == reader.last_token_at
    assert reader.inter_token_s is None
    reader.feed(events(delta(content="b"), delta(content="c"), done=False))
    last = reader.last_token_at
    assert last is not None
    assert last > first == reader.first_token_at
    reader.feed(events(delta("stop"), {"choices": [], "usage": USAGE}))
    reader.finish()
    assert reader.last_token_at == last
    assert reader.inter_token_s == (last - first) / 6


def test_where_the_engine_counts_no_tokens_events_are_counted() -> None:
    found = stream(delta(content="a"), delta(content="b"), delta(content="c"))
    assert found.first_token_at is not None
    assert found.last_token_at is not None
    assert found.inter_token_s == (found.last_token_at - found.first_token_at) / 2


def test_reasoning_is_time_and_no_text() -> None:
    found = stream(delta(reasoning_content="hm"), delta(reasoning="hm"), delta(content="yes"))
    assert found.text == "yes"
    assert found.first_token_at != found.last_token_at


def test_calls_of_tools_are_no_text() -> None:
    call = [{"index": 0, "function": {"name": "f", "arguments": "{"}}]
    for found in (
        stream(delta(tool_calls=call), delta("tool_calls")),
        stream(delta(function_call={"name": "f"}), delta("function_call")),
        whole(
            {"choices": [{"message": {"content": None, "tool_calls": call}, "finish_reason": "tool_calls"}]}
        ),
    ):
        assert (found.text, found.called_tools, found.finish_reason) == (None, True, "tool_calls")
        assert found.error is None


def test_of_several_choices_the_first_is_read() -> None:
    found = stream(
        delta(content="a"), delta(index=1, content="X"), delta(content="b"), delta("length", index=1)
    )
    assert (found.text, found.finish_reason) == ("ab", None)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("content_filter", "content_filter"),
        ("abort", "other"),
        (7, "other"),
    ],
)
def test_reasons_are_a_closed_set(said: Any, meant: str) -> None:
    assert whole({"choices": [{"text": "x", "finish_reason": said}]}).finish_reason == meant
    assert meant in FINISH_REASONS


def test_a_refusal_in_a_field_of_its_own_is_what_was_said() -> None:
    assert whole({"choices": [{"message": {"content": None, "refusal": "I cannot."}}]}).text == "I cannot."


def test_content_in_parts() -> None:
    parts = [{"type": "text", "text": "It is "}, {"type": "text", "text": "billing."}, "?", {"type": "image"}]
    assert whole({"choices": [{"message": {"content": parts}}]}).text == "It is billing."


def test_embeddings_are_an_answer_without_text() -> None:
    found = whole({"object": "list", "data": [{"embedding": [0.1, -0.2]}], "usage": {"prompt_tokens": 4}})
    assert (found.text, found.error, found.prompt_tokens, found.completion_tokens) == (None, None, 4, None)
    assert whole({"object": "list", "data": []}).error == "the answer holds no choice"


RESPONSE = {
    "object": "response",
    "status": "completed",
    "output": [
        {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "hm"}]},
        {"type": "message", "content": [{"type": "output_text", "text": "It is billing."}]},
    ],
    "usage": {"input_tokens": 11, "output_tokens": 7},
}


def test_a_whole_answer_of_the_responses_api() -> None:
    found = whole(RESPONSE)
    assert (found.text, found.finish_reason, found.error) == ("It is billing.", "stop", None)
    assert (found.prompt_tokens, found.completion_tokens) == (11, 7)


def test_a_streamed_answer_of_the_responses_api() -> None:
    found = stream(
        {"type": "response.created", "response": {"status": "in_progress"}},
        {"type": "response.output_item.added", "item": {"type": "message"}},
        {"type": "response.reasoning_text.delta", "delta": "hm"},
        {"type": "response.output_text.delta", "delta": "It is "},
        {"type": "response.output_text.delta", "delta": "billing."},
        {"type": "response.output_text.done", "text": "It is billing."},
        {"type": "response.completed", "response": RESPONSE},
        done=False,
    )
    assert (found.text, found.chars, found.finish_reason) == ("It is billing.", 14, "stop")
    assert (found.prompt_tokens, found.completion_tokens, found.complete, found.error) == (11, 7, True, None)
    assert found.inter_token_s is not None


def test_a_streamed_response_whose_text_comes_with_its_end_only() -> None:
    found = stream({"type": "response.completed", "response": RESPONSE}, done=False)
    assert (found.text, found.complete, found.error) == ("It is billing.", True, None)


def test_a_response_that_was_cut_off_says_why() -> None:
    cut = {**RESPONSE, "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    assert whole(cut).finish_reason == "length"
    streamed = stream({"type": "response.incomplete", "response": cut}, done=False)
    assert (streamed.finish_reason, streamed.complete) == ("length", True)
    assert (
        whole({**cut, "incomplete_details": {"reason": "content_filter"}}).finish_reason == "content_filter"
    )
    assert whole({**cut, "incomplete_details": None}).finish_reason == "other"


def test_a_response_that_calls_a_tool_has_no_text() -> None:
    call = {"type": "function_call", "name": "f", "arguments": "{}"}
    found = whole({**RESPONSE, "output": [call]})
    assert (found.text, found.called_tools, found.finish_reason) == (None, True, "tool_calls")
    streamed = stream(
        {"type": "response.output_item.added", "item": call},
        {"type": "response.function_call_arguments.delta", "delta": "{}"},
        {"type": "response.completed", "response": {"status": "completed", "output": [call]}},
        done=False,
    )
    assert (streamed.text, streamed.called_tools, streamed.finish_reason) == (None, True, "tool_calls")
    assert streamed.first_token_at is not None


@pytest.mark.parametrize(
    "values",
    [
        [{"type": "response.failed", "response": {"status": "failed", "error": {"message": "no"}}}],
        [{"type": "error", "message": "no"}],
        [delta(content="a"), {"error": {"message": "no", "code": 500}}],
    ],
    ids=["failed", "error", "chat"],
)
def test_an_error_among_the_events_is_one_in_band(values: list[Any]) -> None:
    found = stream(*values)
    assert (found.error, found.error_class) == (
        "the engine reported an error inside its answer",
        ErrorClass.IN_BAND,
    )


def test_a_whole_response_that_failed_is_an_error_in_band() -> None:
    assert whole({**RESPONSE, "status": "failed"}).error_class is ErrorClass.IN_BAND


def test_values_that_are_not_finite_are_the_adapters_fault_wherever_they_are_told() -> None:
    told = {"error": {"message": "Out of range float values are not JSON compliant: nan"}}
    for found in (whole(told, status=400), stream(delta(content="!"), told), whole({**told, "choices": []})):
        assert (found.error, found.error_class) == (
            "the adapter's values are not finite",
            ErrorClass.NOT_FINITE,
        )
    assert whole({"error": {"message": "no such field"}}, status=400).error is None


def test_a_stream_without_its_end_broke_off() -> None:
    found = stream(delta(content="a"), done=False)
    assert (found.error_class, found.complete) == (ErrorClass.BROKEN_OFF, False)


@pytest.mark.parametrize("body", [b"", b"hello", b"[1]", b'"x"', b"{", b"{} {}", b"\xff"])
def test_what_is_no_object_is_unreadable(body: bytes) -> None:
    assert (read(body).error, read(body).error_class) == ("the answer is not JSON", ErrorClass.UNREADABLE)


@pytest.mark.parametrize("value", [{}, {"choices": []}, {"status": "ok"}, {"choices": 7}, {"output": []}])
def test_an_object_without_an_answer_is_unreadable(value: Any) -> None:
    found = whole(value)
    assert (found.error, found.error_class) == ("the answer holds no choice", ErrorClass.UNREADABLE)


def test_a_part_of_another_form_hides_no_other() -> None:
    found = whole({"choices": [{"text": "yes"}], "usage": "none", "error": {"message": "no"}, "output": 5})
    assert (found.text, found.error_class) == ("yes", ErrorClass.IN_BAND)
    odd = read(b'{"choices": [{"text": "half \\ud800", "score": NaN}], "usage": {"completion_tokens": 3}}')
    assert (odd.text, odd.completion_tokens, odd.error) == ("half \ud800", 3, None)


@pytest.mark.parametrize("tokens", [-1, 2**31, 1.5, "7", True, None, [7], 10**400])
def test_a_number_of_tokens_that_is_none_is_not_taken(tokens: Any) -> None:
    found = whole(
        {"choices": [{"text": "x"}], "usage": {"completion_tokens": tokens, "prompt_tokens": tokens}}
    )
    assert (found.completion_tokens, found.prompt_tokens, found.text) == (None, None, "x")


def test_what_is_compressed_is_not_read_and_no_error() -> None:
    found = read(b"\x1f\x8b", headers=[*WHOLE, (b"content-encoding", b"gzip")])
    assert (found.text, found.error) == (None, None)


def test_text_beyond_a_million_letters_is_counted_and_not_kept() -> None:
    found = stream(*(delta(content="x" * 400_000) for _ in range(4)))
    assert (found.chars, found.overlong, len(found.text or "")) == (1_600_000, True, 800_000)


@pytest.mark.parametrize("headers", [STREAM, WHOLE], ids=["stream", "whole"])
def test_what_has_no_end_is_given_up_without_being_kept(
    headers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "_LARGEST", 1000)
    reader = AnswerReader()
    reader.start(200, headers)
    for _ in range(100):
        reader.feed(b"data: " + b"x" * 60)
    assert len(reader._pending) == 0
    reader.finish()
    assert (reader.text, reader.overlong, reader.error) == (None, True, None)


MEMBERS = [
    "choices",
    "delta",
    "message",
    "content",
    "text",
    "index",
    "usage",
    "completion_tokens",
    "prompt_tokens",
    "error",
    "type",
    "response",
    "output",
    "status",
    "item",
    "data",
    "finish_reason",
    "tool_calls",
    "refusal",
    "incomplete_details",
    "reason",
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(MEMBERS) | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
TYPES = st.sampled_from(
    [
        "response.output_text.delta",
        "response.completed",
        "response.failed",
        "error",
        "response.output_item.added",
    ]
)
EVENTS = st.one_of(
    JSON,
    st.dictionaries(
        st.sampled_from(["choices", "usage", "error", "delta", "response", "output", "data"]), JSON
    ),
    st.builds(
        lambda kind, rest: {"type": kind, **rest},
        TYPES,
        st.fixed_dictionaries({"delta": JSON, "response": JSON}),
    ),
    st.builds(lambda text: delta(content=text), st.text(max_size=9)),
)
LINES = st.one_of(
    EVENTS.map(lambda value: b"data: " + json.dumps(value).encode()),
    st.sampled_from([b"", b"data: [DONE]", b"data:", b": hello", b"event: error", b"data: {", b"\r"]),
    st.binary(max_size=20),
)


def told(reader: AnswerReader) -> tuple[Any, ...]:
    """All that is read but the times."""
    return (
        *(reader.text, reader.chars, reader.overlong, reader.called_tools, reader.error, reader.error_class),
        *(reader.prompt_tokens, reader.completion_tokens, reader.finish_reason, reader.complete),
        reader.first_token_at is None,
    )


@settings(max_examples=400, deadline=None)
@given(
    body=st.lists(LINES, max_size=8).map(b"\n".join),
    cuts=st.lists(st.integers(0, 600), max_size=8),
    data=st.data(),
)
def test_any_chunks_of_a_stream_say_the_same(body: bytes, cuts: list[int], data: st.DataObject) -> None:
    limit = data.draw(st.sampled_from([40, answers._LARGEST]))
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(answers, "_LARGEST", limit)
        for headers in (STREAM, WHOLE):
            chunks = [body[start:end] for start, end in itertools.pairwise(edges)]
            assert told(read(*chunks, headers=headers)) == told(read(body, headers=headers))
            bytewise = [body[place : place + 1] for place in range(len(body))]
            assert told(read(*bytewise, headers=headers)) == told(read(body, headers=headers))


@settings(max_examples=400, deadline=None)
@given(value=EVENTS, status=st.sampled_from([200, 400, 500]))
def test_whatever_an_engine_writes_nothing_is_raised_and_the_sets_stay_closed(
    value: Any, status: int
) -> None:
    for found in (whole(value, status=status), stream(value, value)):
        assert found.finish_reason in (None, *FINISH_REASONS)
        assert found.error_class is None or type(found.error_class) is ErrorClass
        assert (found.error is None) == (found.error_class is None)


def test_deep_nesting_is_unreadable_and_no_crash() -> None:
    for body in (b"[" * 100_000, b'{"choices":' * 100_000, b'{"choices": [' + b'{"delta":' * 50_000):
        assert read(body).error_class is ErrorClass.UNREADABLE
        assert read(b"data: " + body + b"\n\n", headers=STREAM).error is not None
