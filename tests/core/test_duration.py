"""Lengths of time: what was read is written so that it can be read again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from rollout.core.duration import Duration

DURATION: TypeAdapter[object] = TypeAdapter(Duration)


@given(st.integers(0, 999_999), st.sampled_from(["ms", "s", "m", "h", "d"]))
def test_what_was_read_can_be_read_again(number: int, unit: str) -> None:
    read = DURATION.validate_python(f"{number}{unit}")
    assert DURATION.validate_json(DURATION.dump_json(read)) == read


@pytest.mark.parametrize("text", ["500ms", "90s", "30m", "36h", "7d", "0s"])
def test_it_is_written_as_people_write_it(text: str) -> None:
    assert DURATION.dump_json(DURATION.validate_python(text)) == f'"{text}"'.encode()


@pytest.mark.parametrize("text", ["PT30M", "30", "-1s", "1.5h", "1w", "", "1234567s"])
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="a duration is a number with"):
        DURATION.validate_python(text)
