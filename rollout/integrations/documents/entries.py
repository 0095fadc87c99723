"""Where the text of a document changes when a field or an item is added or taken away."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rollout.core.document import Pointer, show_pointer
from rollout.errors import Unreadable
from rollout.integrations.documents.parsed import Parsed, Span
from rollout.integrations.documents.spelling import DOUBLE, Value, spell

_REST = re.compile(r"[ \t]*(?:#[^\n]*|\r)?")
_BLANKS = re.compile(r" *")
_COMMA = re.compile(r"\s*,")


class Splice(NamedTuple):
    """The characters [start, end) give way to others."""

    start: int
    end: int
    new: str


class _Entry(NamedTuple):
    """The characters [start, end) of a key with its value, or of an item without its dash."""

    start: int
    end: int
    key: Span | None
    value: Span


def insertion(parsed: Parsed, pointer: Pointer, value: Value) -> list[Splice]:
    """Put a new field behind the last one of its mapping, or an item behind the last one of its list.

    The splices are in the order of the text.

    Raises Unreadable if there is no such mapping or list, or if the field exists already.
    """
    parent = parsed.spans.get(pointer[:-1]) if pointer else None
    if parent is None or parent.is_single:
        raise _refusal(parsed, pointer, "there is no mapping or list to add it to")
    entries = _entries(parsed, pointer[:-1])
    if pointer in parsed.spans or pointer[-1] not in _free(parent, entries, pointer[-1]):
        raise _refusal(parsed, pointer, "it is there already, or is no name for what can be added")
    if parent.style in {"{", "["}:
        entry = _spelt(pointer[-1], value, entries)
        return _into_brackets(parsed, pointer, parent, entries, entry)
    return [_below(parsed.text, parent, entries, _lines(pointer[-1], value, entries))]


def removal(parsed: Parsed, pointer: Pointer) -> list[Splice]:
    """Take a field or an item away, with the comment on its last line.

    Raises Unreadable if there is none, if it shares a line with what stays, or if nothing would be left of a
    mapping or a list that is not in brackets.
    """
    if not pointer or pointer not in parsed.spans:
        raise _refusal(parsed, pointer, "it is not there")
    entries = _entries(parsed, pointer[:-1])
    at = [entry.value for entry in entries].index(parsed.spans[pointer])
    if parsed.spans[pointer[:-1]].style in {"{", "["}:
        return [_out_of_brackets(parsed.text, entries, at)]
    if len(entries) == 1:
        raise _refusal(parsed, pointer, "nothing would be left beside it")
    start = _line_start(parsed.text, entries[at].start)
    if parsed.text[start : entries[at].start].strip(" ") != ("-" if isinstance(pointer[-1], int) else ""):
        raise _refusal(parsed, pointer, "it shares its line with something that stays")
    return [Splice(start, _behind_line(parsed.text, entries[at].end), "")]


def _free(parent: Span, entries: Sequence[_Entry], key: str | int) -> tuple[str | int, ...]:
    """What a new entry may be called: anything in a mapping, the next number in a list."""
    if parent.style in {"[", "-"}:
        return (len(entries),)
    return (key,) if isinstance(key, str) else ()


def _spelt(key: str | int, value: Value, entries: Sequence[_Entry]) -> str:
    """The new entry, quoted like the last one."""
    beside = entries[-1] if entries else None
    key_style = beside.key.style if beside and beside.key else None
    value_style = beside.value.style if beside and beside.value.style in {"'", DOUBLE} else key_style
    spelt = spell(value, value_style)
    return spelt if isinstance(key, int) else f"{spell(key, key_style)}: {spelt}"


def _lines(key: str | int, value: Value, entries: Sequence[_Entry]) -> list[str]:
    """The new entry on lines of its own; a mapping takes one for each of its fields."""
    if not isinstance(value, Mapping) or not value or isinstance(key, int):
        return [_spelt(key, value, entries)]
    return [f"{spell(key)}:", *(f"  {spell(name)}: {spell(item, DOUBLE)}" for name, item in value.items())]


def _entries(parsed: Parsed, parent: Pointer) -> list[_Entry]:
    data = parsed.data
    for part in parent:
        data = data[part]
    found = []
    for part in data if isinstance(data, dict) else range(len(data)):
        key, value = parsed.keys.get((*parent, part)), parsed.spans[(*parent, part)]
        found.append(_Entry((key or value).start, value.end, key, value))
    return found


def _below(text: str, parent: Span, entries: Sequence[_Entry], entry: Sequence[str]) -> Splice:
    """Lines of their own, as far in as the first entry."""
    at = _behind_line(text, entries[-1].end)
    first = parent.start if parent.style == "-" else entries[0].start
    margin = " " * (first - _line_start(text, first))
    lines = [margin + ("- " if parent.style == "-" else "") + line for line in entry]
    end = _line_end(text)
    return Splice(at, at, end.join([*lines, ""]) if text[at - 1] == "\n" else end.join(["", *lines]))


def _into_brackets(
    parsed: Parsed, pointer: Pointer, parent: Span, entries: Sequence[_Entry], entry: str
) -> list[Splice]:
    text = parsed.text
    if text[parent.end - 1] not in "}]":
        raise _refusal(parsed, pointer, "the brackets around it are left out")
    if not entries:
        return [Splice(parent.start + 1, parent.start + 1, entry)]
    last, comma = entries[-1], _COMMA.match(text, entries[-1].end)
    lead = text[_line_start(text, last.start) : last.start]
    at = _REST.match(text, comma.end() if comma else last.end).end()  # type: ignore[union-attr]
    if lead.strip() or text[at : at + 1] != "\n":
        return [Splice(last.end, last.end, f", {entry}")]
    at -= text[at - 1] == "\r"
    return [
        Splice(last.end, last.end, "" if comma else ","),
        Splice(at, at, _line_end(text) + lead + entry + ("," if comma else "")),
    ]


def _out_of_brackets(text: str, entries: Sequence[_Entry], at: int) -> Splice:
    start, end = entries[at].start, entries[at].end
    comma = _COMMA.match(text, end)
    end = comma.end() if comma else end
    rest = _REST.match(text, end).end()  # type: ignore[union-attr]
    if not text[_line_start(text, start) : start].strip() and text[rest : rest + 1] == "\n":
        return Splice(_line_start(text, start), rest + 1, "")
    if at + 1 < len(entries):
        return Splice(start, _BLANKS.match(text, end).end(), "")  # type: ignore[union-attr]
    if at and not text[entries[at - 1].end : start].strip(" ,"):
        return Splice(entries[at - 1].end, entries[at].end, "")
    return Splice(start, end, "")


def _line_end(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _line_start(text: str, index: int) -> int:
    return text.rfind("\n", 0, index) + 1


def _behind_line(text: str, end: int) -> int:
    """Where the line begins that follows what ends here."""
    if text[end - 1] == "\n":
        return end
    line_end = text.find("\n", end)
    return len(text) if line_end < 0 else line_end + 1


def _refusal(parsed: Parsed, pointer: Pointer, reason: str) -> Unreadable:
    return Unreadable(f"{parsed.source}: {show_pointer(pointer) or 'the root'} cannot be edited: {reason}")
