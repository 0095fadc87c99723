"""The ordinary form of YAML, read in a tenth of the time.

Ordinary are block mappings and lists with values on one line, brackets on one line, and blocks of text without
surprises: what people write, and all that this product writes. Nothing is ever refused here: what is not
ordinary, wrong or merely rare, is left to the full reader, which alone decides what a document may hold. Where
this reader answers, it answers as the full one does, to the last span; the tests hold both against each other.
"""

from __future__ import annotations

import re
from typing import Any, NoReturn

from rollout.core.document import Pointer
from rollout.integrations.documents.parsed import MAX_DEPTH, MAX_NODES, Parsed, Span
from rollout.integrations.documents.text import scalar

_QUOTED = r""" "[^"\\\n]*" | '(?:[^'\n]|'')*' """
_KEY = re.compile(rf"([A-Za-z_/][A-Za-z0-9_./-]{{0,200}} | {_QUOTED}):(?=[ \n])", re.VERBOSE)
_DASH = re.compile(r"-(?=[ \n])")
_BLANKS = re.compile(r" *")
# Up to the first character of the next line that is neither blank nor a comment.
_NEXT = re.compile(r"(?:\ *(?:\#[^\n]*)?\n)*\ *", re.VERBOSE)
_END = re.compile(r"\ *(?:(?<=\ )\#[^\n]*)?\n", re.VERBOSE)
_QUOTED_END = re.compile(rf"(?:{_QUOTED})(?=\ *\n|\ +\#)", re.VERBOSE)
_PLAIN = re.compile(
    r"""(?:[^\s\-?:,\[\]{}\#&*!|>'"%@`=]|-(?=[A-Za-z0-9.]))[^\n]*?(?=\ *\n|\ +\#)""", re.VERBOSE
)
_TEXT = re.compile(r"([|>])(-?)\n( +)(?=[^ \n])")
_FLOW_KEY = re.compile(rf"([A-Za-z_/][A-Za-z0-9_./-]{{0,200}} | {_QUOTED}):\ +", re.VERBOSE)
_FLOW_VALUE = re.compile(
    rf"(?:-?[A-Za-z0-9_][A-Za-z0-9_./+@%-]*(?:\ [A-Za-z0-9_./+][A-Za-z0-9_./+@%-]*)* | {_QUOTED})(?=\ *[,\]}}])",
    re.VERBOSE,
)
_COMMA = re.compile(r" *, *(?=[^ \n\]}])")

_NO_TEXT = frozenset({"null", "true", "false"})
_LONGEST_KEY = 1000
_CLOSING = {"[": "]", "{": "}"}
_EMPTY = Span(0, 0, None)


class _Odd(Exception):
    """Something is not ordinary."""


def read_ordinary(source: str, text: str) -> Parsed | None:
    """The document, or None if anything in it is not ordinary."""
    if not text.endswith("\n") or "\t" in text or "\r" in text:
        return None
    try:
        return _Reading(source, text).run()
    except (_Odd, ValueError):
        return None


class _Reading:
    """One pass over the text. `at` is the first character of what is read next, `column` how far in it stands."""

    def __init__(self, source: str, text: str) -> None:
        self._parsed = Parsed(source, text)
        self._text = text
        self._keys, self._spans = self._parsed.keys, self._parsed.spans
        self._at = 0
        self._column = 0
        self._end = 0
        self._nodes = 0

    def run(self) -> Parsed:
        self._next_line(0)
        if self._column != 0:
            self._stop()
        self._parsed.data = self._mapping((), 0)
        if self._column >= 0:
            self._stop()
        return self._parsed

    def _stop(self) -> NoReturn:
        raise _Odd

    def _next_line(self, at: int) -> None:
        """Go to what stands next; the column is -1 behind the last line."""
        match = _NEXT.match(self._text, at)
        assert match is not None
        self._at = match.end()
        self._column = self._at - self._text.rfind("\n", 0, self._at) - 1
        if self._at == len(self._text):
            self._column = -1

    def _admit(self, pointer: Pointer) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES or len(pointer) > MAX_DEPTH:
            self._stop()

    def _block(self, pointer: Pointer, column: int) -> Any:
        if _DASH.match(self._text, self._at):
            return self._list(pointer, column)
        return self._mapping(pointer, column)

    def _mapping(self, pointer: Pointer, column: int) -> dict[str, Any]:
        self._admit(pointer)
        mapping: dict[str, Any] = {}
        start, self._spans[pointer] = self._at, _EMPTY
        while True:
            key, behind = self._key(_KEY.match(self._text, self._at), mapping, pointer)
            mapping[key] = self._value((*pointer, key), behind, column, in_list=False)
            if self._column != column:
                break
        self._close(pointer, Span(start, self._end, ":"), column)
        return mapping

    def _list(self, pointer: Pointer, column: int) -> list[Any]:
        self._admit(pointer)
        items: list[Any] = []
        start, self._spans[pointer] = self._at, _EMPTY
        while _DASH.match(self._text, self._at):
            items.append(self._value((*pointer, len(items)), self._at + 1, column, in_list=True))
            if self._column != column:
                break
        self._close(pointer, Span(start, self._end, "-"), column)
        return items

    def _close(self, pointer: Pointer, span: Span, column: int) -> None:
        self._spans[pointer] = span
        if self._column > column:
            self._stop()

    def _key(self, match: re.Match[str] | None, mapping: dict[str, Any], pointer: Pointer) -> tuple[str, int]:
        """(a key of the mapping at the pointer, where it ends with its colon)."""
        if match is None:
            self._stop()
        self._admit(pointer)
        written = match[1]
        key = _unquoted(written)
        is_text = written[0] in "\"'" or key.lower() not in _NO_TEXT
        if not is_text or key in mapping or key == "<<" or len(written) > _LONGEST_KEY:
            self._stop()
        self._keys[(*pointer, key)] = _scalar_span(match.start(1), match.end(1), written)
        return key, match.end()

    def _value(self, pointer: Pointer, at: int, column: int, *, in_list: bool) -> Any:
        """What stands behind the colon or the dash before `at`, of a key or a dash in `column`."""
        if (end := _END.match(self._text, at)) is not None:
            return self._below(pointer, at, end.end(), column, in_list=in_list)
        at = _BLANKS.match(self._text, at).end()  # type: ignore[union-attr]
        if in_list and (_DASH.match(self._text, at) or _KEY.match(self._text, at)):
            self._at, self._column = at, at - self._text.rfind("\n", 0, at) - 1
            return self._block(pointer, self._column)
        if self._text[at] in "|>":
            return self._lines(pointer, at, column)
        value = self._inline(pointer, at)
        if (end := _END.match(self._text, self._end)) is None:
            self._stop()
        self._go_on(end.end(), column)
        return value

    def _go_on(self, at: int, column: int) -> None:
        """Go to the next line, which goes on with the value before if it stands further in."""
        self._next_line(at)
        if self._column > column:
            self._stop()

    def _below(self, pointer: Pointer, at: int, end: int, column: int, *, in_list: bool) -> Any:
        """What stands on the lines below; nothing, if they stand no further in."""
        self._next_line(end)
        if self._column > column:
            return self._block(pointer, self._column)
        if self._column == column and not in_list and _DASH.match(self._text, self._at):
            return self._list(pointer, column)
        self._admit(pointer)
        self._end, self._spans[pointer] = at, Span(at, at, None)
        return None

    def _inline(self, pointer: Pointer, at: int) -> Any:
        self._admit(pointer)
        first = self._text[at]
        if first in "[{":
            return self._brackets(pointer, at)
        match = (_QUOTED_END if first in "\"'" else _PLAIN).match(self._text, at)
        if match is None or (first not in "\"'" and (": " in match[0] or match[0][-1] == ":")):
            self._stop()
        return self._single(pointer, match)

    def _single(self, pointer: Pointer, match: re.Match[str]) -> Any:
        written = match[0]
        self._end = match.end()
        self._spans[pointer] = _scalar_span(match.start(), self._end, written)
        return _unquoted(written) if written[0] in "\"'" else scalar(written)

    def _brackets(self, pointer: Pointer, at: int) -> Any:
        start, text = at, self._text
        self._spans[pointer] = _EMPTY
        value: Any = {} if text[start] == "{" else []
        at = _BLANKS.match(text, at + 1).end()  # type: ignore[union-attr]
        while text[at] != _CLOSING[text[start]]:
            at = self._entry(pointer, value, at)
            if comma := _COMMA.match(text, at):
                at = comma.end()
                continue
            at = _BLANKS.match(text, at).end()  # type: ignore[union-attr]
            if text[at] != _CLOSING[text[start]]:
                self._stop()
        self._end = at + 1
        self._spans[pointer] = Span(start, self._end, text[start])
        return value

    def _entry(self, pointer: Pointer, value: Any, at: int) -> int:
        """One item or field in brackets; the answer is where it ends."""
        if isinstance(value, dict):
            key, at = self._key(_FLOW_KEY.match(self._text, at), value, pointer)
            value[key] = self._in_brackets((*pointer, key), at)
        else:
            value.append(self._in_brackets((*pointer, len(value)), at))
        return self._end

    def _in_brackets(self, pointer: Pointer, at: int) -> Any:
        self._admit(pointer)
        if self._text[at] in "[{":
            return self._brackets(pointer, at)
        match = _FLOW_VALUE.match(self._text, at)
        return self._single(pointer, match) if match else self._stop()

    def _lines(self, pointer: Pointer, at: int, column: int) -> str:
        """A block of text: as it is, or with its lines joined."""
        match = _TEXT.match(self._text, at)
        if match is None or len(match[3]) <= column:
            self._stop()
        self._admit(pointer)
        lines, last, end = self._text_lines(match.start(3), len(match[3]))
        self._end = len(self._text[:last].rstrip())
        self._spans[pointer] = Span(at, self._end, match[1])
        self._go_on(end, column)
        joined = _folded(lines) if match[1] == ">" else "\n".join(lines)
        return joined if match[2] else joined + "\n"

    def _text_lines(self, at: int, margin: int) -> tuple[list[str], int, int]:
        """(the lines without their margin and without the blank ones below, where the last ends, what is behind)."""
        lines: list[str] = []
        count, last = 0, at
        while at < len(self._text):
            end = self._text.index("\n", at)
            line = self._text[at:end]
            content = line[margin:]
            if line[:margin].strip(" "):
                break
            if content and not content.strip(" "):
                self._stop()
            lines.append(content)
            if content:
                count, last = len(lines), end
            at = end + 1
        return lines[:count], last, at


def _folded(lines: list[str]) -> str:
    """Lines as one, with a line end for every blank line between them; lines further in keep theirs."""
    parts, last, ends = [lines[0]], lines[0], 0
    for line in lines[1:]:
        if line:
            apart = last[0] == " " or line[0] == " "
            parts += ["\n" * (ends + apart) or " ", line]
            last, ends = line, 0
        else:
            ends += 1
    return "".join(parts)


def _scalar_span(start: int, end: int, written: str) -> Span:
    return Span(start, end, written[0] if written[0] in "\"'" else None)


def _unquoted(written: str) -> str:
    if written[0] == '"':
        return written[1:-1]
    return written[1:-1].replace("''", "'") if written[0] == "'" else written
