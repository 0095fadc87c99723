"""JSON in answers: by the letter, and out of its fence."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rollout.core.jsontext import NOT_JSON, canonical, find_json, is_json, lacks_field, read_json, strip_fence

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(json_values)
def test_what_is_json_stays_json_in_a_fence(value: Any) -> None:
    text = json.dumps(value)
    assert is_json(text)
    assert json.loads(strip_fence(f"```json\n{text}\n```")) == value
    assert strip_fence(text) == text


@given(st.lists(json_values) | st.dictionaries(st.text(), json_values))
def test_json_is_found_inside_a_sentence(value: Any) -> None:
    assert canonical(find_json(f"Here it is: {json.dumps(value)} I hope it helps.")) == canonical(value)


@given(st.text(max_size=200))
def test_any_text_is_read_or_is_no_json(text: str) -> None:
    for found in (read_json(text), find_json(text)):
        assert found is NOT_JSON or json.dumps(found)


def test_what_is_nested_too_deeply_or_no_number_is_no_json() -> None:
    for text in ("[" * 100_000, "NaN", "[Infinity]", "{'a': 1}", "", "```json\n{}\n```"):
        assert not is_json(text)


def test_a_reference_without_the_fields_is_found() -> None:
    reference = '{"intent": "refund", "priority": "low"}'
    assert lacks_field(reference, ("intent", "priority")) is None
    assert lacks_field('{"intent": 1}', ("intent", "priority")) == "the reference lacks the fields priority"
    assert lacks_field("refund", ()) == "the reference is not JSON"
