"""YAML as people write it: a Hypothesis strategy for documents with comments, quotes and layouts of all kinds."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

KEYS = ("a", "b-c", "x.json", "name", "k_1", "the key", "true")
PLAIN = (
    "x",
    "a b",
    "1",
    "-3",
    "1.5",
    "true",
    "null",
    "~",
    "2026-11-22",
    "v1.2",
    "a:b",
    "x#y",
    "-x",
    "0",
    "é",
    "日本",
)
QUOTED = ("", "it's", "a: b # c", "{x}", "- y", 'say "hi"', "1.10", "tab\there", "ü")


class _Writer:
    """Writes one document; every comment has a number of its own."""

    def __init__(self, draw: Any) -> None:
        self._draw = draw
        self._comments = 0

    def document(self) -> str:
        step = self._one_of((1, 2, 2, 2, 4))
        lines = [*self._comment_lines(0), *self._mapping(0, step, 3), *self._comment_lines(0)]
        end = self._one_of(("\n", "\n", "\r\n"))
        return end.join(lines) + self._one_of((end, end, end, "", end + end))

    def _one_of(self, choices: Any) -> Any:
        return self._draw(st.sampled_from(choices))

    def _comment(self) -> str:
        self._comments += 1
        return f"# c{self._comments}{self._one_of(('', ' word', ': x', ' - {y', ' é'))}"

    def _comment_lines(self, indent: int) -> list[str]:
        kinds = self._draw(st.lists(st.sampled_from(("", "comment", "outdented")), max_size=2))
        return ["" if not kind else " " * (indent * (kind == "comment")) + self._comment() for kind in kinds]

    def _tail(self) -> str:
        return self._one_of(("", "", " ", "  ")) + (
            " " + self._comment() if self._one_of((False, False, True)) else ""
        )

    def _mapping(self, indent: int, step: int, depth: int) -> list[str]:
        lines: list[str] = []
        for key in self._draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=4, unique=True)):
            if lines:
                lines += self._comment_lines(indent)
            written = " " * indent + self._key(key) + self._one_of(("", "", " ")) + ":"
            lines += self._value(written, indent, step, depth)
        return lines

    def _list(self, indent: int, step: int, depth: int) -> list[str]:
        lines: list[str] = []
        for _ in range(self._one_of((1, 2, 3))):
            if lines:
                lines += self._comment_lines(indent)
            if depth and self._one_of((False, False, True)):
                inner = self._mapping(indent + 2, step, depth - 1)
                lines += [" " * indent + "- " + inner[0][indent + 2 :], *inner[1:]]
            else:
                lines += self._value(" " * indent + "-", indent, step, 0)
        return lines

    def _value(self, before: str, indent: int, step: int, depth: int) -> list[str]:
        kind = self._one_of(
            ("plain", "plain", "quoted", "flow", "block", "list", "text", "folded", "empty", "long")
        )
        match kind if depth or kind not in {"block", "list"} else "plain":
            case "plain":
                return [f"{before} {self._one_of(PLAIN)}{self._tail()}"]
            case "quoted":
                return [f"{before} {self._quoted()}{self._tail()}"]
            case "flow":
                return self._spread_flow(before, indent + step, self._one_of((True, False)))
            case "empty":
                return [f"{before}{self._tail()}"]
            case "long":
                return [f"{before} first", " " * (indent + step) + "and last" + self._tail()]
            case "block":
                return [f"{before}{self._tail()}", *self._mapping(indent + step, step, depth - 1)]
            case "list":
                inner = indent + self._one_of((0, step)) if before.endswith(":") else indent + step
                return [f"{before}{self._tail()}", *self._list(inner, step, depth - 1)]
            case text:
                return self._text(before, indent + step, "|" if text == "text" else ">")

    def _text(self, before: str, indent: int, mark: str) -> list[str]:
        words = self._draw(
            st.lists(
                st.sampled_from(("a word", "# no comment", "x: y", "", "  in", "z")), min_size=1, max_size=4
            )
        )
        lines = [(" " * indent + word) if word else "" for word in words]
        return [
            f"{before} {mark}{self._one_of(('', '-', '+'))}{self._tail()}",
            " " * indent + "begin",
            *lines,
        ]

    def _spread_flow(self, before: str, indent: int, spread: bool) -> list[str]:
        is_map = self._one_of((True, False))
        opening, closing = "{}" if is_map else "[]"
        keys = self._draw(st.lists(st.sampled_from(KEYS), max_size=3, unique=True))
        entries = [(f"{self._key(key)}: " if is_map else "") + self._flow_value() for key in keys]
        if not spread or not entries:
            pad = self._one_of(("", "", " "))
            return [f"{before} {opening}{pad}{', '.join(entries)}{pad}{closing}{self._tail()}"]
        commas = [","] * (len(entries) - 1) + [self._one_of((",", ""))]
        lines = [
            " " * indent + entry + comma + self._tail() for entry, comma in zip(entries, commas, strict=True)
        ]
        return [f"{before} {opening}", *lines, " " * indent + closing + self._tail()]

    def _flow_value(self) -> str:
        nested = ("[1, x]", "{a: 1}", "[]", "{}")
        return str(self._one_of((*(text for text in PLAIN if text != "~"), self._quoted(), *nested)))

    def _quoted(self) -> str:
        text = self._one_of((*QUOTED, *PLAIN))
        if self._one_of((True, False)) and "\t" not in text:
            return "'" + text.replace("'", "''") + "'"
        return json.dumps(text, ensure_ascii=False)

    def _key(self, key: str) -> str:
        return self._one_of((key, key, json.dumps(key), f"'{key}'")) if key != "true" else '"true"'


@st.composite
def documents(draw: st.DrawFn) -> str:
    """The text of a document whose root is a mapping. It need not be strict: a key may lack its value."""
    return _Writer(draw).document()
