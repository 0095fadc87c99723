"""The fast reader against the full one: where it answers, it answers the same, to the last span."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rollout.core.document import DocumentErrors
from rollout.integrations.documents import render
from rollout.integrations.documents.ordinary import read_ordinary
from rollout.integrations.documents.parsed import MAX_DEPTH, MAX_NODES
from rollout.integrations.documents.text import decode
from rollout.integrations.documents.yaml import read_fully
from tests.support.adapters import REPOSITORY
from tests.support.yamltext import documents

SHIPPED = sorted(
    path for folder in ("manifests", "policies", "rollout") for path in (REPOSITORY / folder).rglob("*.yaml")
)
PIECES = (
    *(
        " ",
        "  ",
        "\n",
        "\n ",
        "\n  ",
        ":",
        ": ",
        "-",
        "- ",
        "#",
        " #",
        "# c\n",
        ",",
        "[",
        "]",
        "{",
        "}",
        "'",
        '"',
    ),
    *(
        "''",
        "|",
        "|-",
        "|\n",
        ">",
        ">-\n",
        "&",
        "*",
        "!",
        "%",
        "@",
        "`",
        "?",
        "? ",
        "~",
        "<<: ",
        "---\n",
        "...\n",
    ),
    *(
        "null",
        "true",
        "1.10",
        "0x1",
        ".inf",
        "é",
        "漢",
        "\u00a0",
        "\u3000",
        "\n\n",
        "\n    \n",
        "[a, b]",
        "{a: b}",
    ),
    *('"a": ', "a:b", "http://x", "a #b", "- a\n", "a: b\n"),
)
TOKENS = (
    "a:",
    "b:",
    " ",
    "\n",
    "\n  ",
    "- ",
    "-",
    "x",
    "|",
    ">-",
    "'q'",
    "[x]",
    "{a: x}",
    "# c",
    " # c",
    "1",
)


def agrees(text: str) -> bool:
    """Whether the fast reader answered. Fails unless it answers as the full one does."""
    fast = read_ordinary("x", text)
    if fast is None:
        return False
    full = read_fully("x", text)
    assert full.problems == fast.problems == []
    assert json.dumps(fast.data) == json.dumps(full.data)
    assert list(fast.spans.items()) == list(full.spans.items())
    assert list(fast.keys.items()) == list(full.keys.items())
    return True


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_both_read_what_this_product_ships_the_same(path: Path) -> None:
    ordinary = agrees(path.read_text())
    assert ordinary or path.name != "rule.yaml", "rules are read in every run: they should be ordinary"


def test_nearly_all_of_it_is_ordinary() -> None:
    assert sum(agrees(path.read_text()) for path in SHIPPED) > 0.9 * len(SHIPPED)


PATIENT = settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])


@PATIENT
@given(documents())
@example("a:\n- |\n  x\n\n  y\n- >-\n  x\n\n\n  y\n   # c\nb: {c: [1, 'it''s', {d: \"e\"}]} # f\n")
@example("a: >-\n  b [\n    c\n\n    d\n\n  ]\n  e\n   f\n\n\n  g\nb: 1\n")
@example("a: >\n  b\u3000\n  c \n\n\nd: -x\n")
def test_both_read_what_people_write_the_same(text: str) -> None:
    agrees(text)


@PATIENT
@given(
    st.dictionaries(
        st.sampled_from(("a", "b", "c d", "x.json")),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers(-9, 9)
            | st.sampled_from(("x", "a: b", "y\nz", "", "1", "#")),
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2)
            ),
        ),
        min_size=1,
    )
)
def test_both_read_what_machines_write_the_same(data: dict[str, object]) -> None:
    agrees(render(data).decode())


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """Some lines of a document that is shipped, with pieces put in and characters taken out."""
    lines = draw(st.sampled_from(SHIPPED)).read_text().split("\n")
    first = draw(st.integers(0, len(lines) - 1))
    text = "\n".join(lines[first : first + draw(st.integers(1, 14))]) + "\n"
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.sampled_from(("", *PIECES))) + text[at + draw(st.integers(0, 3)) :]
    return text + "\n"


@settings(PATIENT, max_examples=1500)
@given(damaged())
def test_both_read_what_was_damaged_the_same_or_the_full_one_alone_decides(text: str) -> None:
    try:
        decode(text.encode(), "x")
    except DocumentErrors:
        return
    agrees(text)


def test_both_read_every_short_text_the_same() -> None:
    texts = (
        "".join(tokens) + "\n" for count in range(1, 5) for tokens in itertools.product(TOKENS, repeat=count)
    )
    assert sum(map(agrees, texts)) > 1000


@pytest.mark.parametrize(
    "text", ["a: 1", "a:\t1\n", "a: 1\r\n", "- a\n", " a: 1\n", "a: &b 1\n", "a: b: c\n", "\n"]
)
def test_what_is_not_ordinary_is_left_to_the_full_reader(text: str) -> None:
    assert read_ordinary("x", text) is None


def test_the_limits_are_those_of_the_full_reader() -> None:
    keys = (MAX_NODES - 1) // 2
    assert agrees("".join(f"k{number}: 1\n" for number in range(keys)))
    assert not agrees("".join(f"k{number}: 1\n" for number in range(keys + 1)))
    assert agrees("a: " + "[" * (MAX_DEPTH - 1) + "x" + "]" * (MAX_DEPTH - 1) + "\n")
    assert not agrees("a: " + "[" * MAX_DEPTH + "x" + "]" * MAX_DEPTH + "\n")
    assert agrees("".join("  " * depth + "a:\n" for depth in range(MAX_DEPTH)))
    assert not agrees("".join("  " * depth + "a:\n" for depth in range(MAX_DEPTH + 1)))
    for text in (
        "[" * MAX_DEPTH + "x" + "]" * MAX_DEPTH,
        "".join(f"k{number}: 1\n" for number in range(keys + 1)),
    ):
        with pytest.raises(DocumentErrors, match=r"deeper than|more than"):
            read_fully("x", "a: " + text if text[0] == "[" else text)
