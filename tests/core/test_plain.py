"""Words of others, as they may stand in a record."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.core.plain import plain


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("ann", "ann"),
        (" ann \r\n bob ", "ann bob"),
        ("\x1b]0;title\x07", "]0;title"),
        ("\udcff", "nobody"),
        ("", "nobody"),
        ("x" * 20, "x" * 9 + "…"),
    ],
)
def test_one_printable_line_of_bounded_length(text: str, made: str) -> None:
    assert plain(text, 10, nothing="nobody") == made


@given(st.text(alphabet=st.characters()), st.integers(1, 40))
def test_whatever_was_said_can_be_written_down(text: str, most: int) -> None:
    made = plain(text, most, nothing="?")
    assert 1 <= len(made) <= most
    assert made.isprintable()
    made.encode()
