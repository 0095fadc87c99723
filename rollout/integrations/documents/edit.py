"""Machine edits that change one scalar and leave every other byte of the file as it was."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from rollout.core.document import Pointer, show_pointer
from rollout.errors import Unreadable
from rollout.integrations.documents.text import scalar
from rollout.integrations.documents.yaml import Parsed, Span, parse

Scalar = str | int | float | bool | None

# Text that is the same plain in every position of every reader: no indicator, no colon, no comment sign.
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./+@-]*\Z")


def edit(content: bytes, changes: Mapping[Pointer, Scalar], *, source: str = "document") -> bytes:
    """The document with other scalars at some pointers; comments, order and quoting stay.

    Raises Unreadable if a pointer does not exist or does not lead to a scalar on one line, and DocumentErrors
    if the document is not readable in the first place. The result is read again before it is returned.
    """
    parsed = parse(content, source)
    text = parsed.text
    spans = sorted(
        ((_span(parsed, pointer), value) for pointer, value in changes.items()), key=_start, reverse=True
    )
    for span, value in spans:
        text = text[: span.start] + _separated(text, span) + _written(value, span.style) + text[span.end :]
    edited = text.encode("utf-8")
    _prove(parsed, parse(edited, source), changes)
    return edited


def _start(change: tuple[Span, Scalar]) -> int:
    return change[0].start


def _span(parsed: Parsed, pointer: Pointer) -> Span:
    span = parsed.spans.get(pointer)
    if span is None:
        raise Unreadable(
            f"{parsed.source}: there is no single value at {show_pointer(pointer) or 'the root'}"
        )
    if span.style in {"|", ">"} or "\n" in parsed.text[span.start : span.end]:
        raise Unreadable(f"{parsed.source}: the value at {show_pointer(pointer)} spans several lines")
    return span


def _separated(text: str, span: Span) -> str:
    """An empty value stands directly behind its colon or dash, and needs a space."""
    return " " if span.start == span.end and text[span.start - 1 : span.start] not in {" ", ""} else ""


def _written(value: Scalar, style: str | None) -> str:
    if not isinstance(value, str):
        return json.dumps(value, allow_nan=False)
    if style == "'" and value.isprintable():
        return "'" + value.replace("'", "''") + "'"
    if style is None and _PLAIN.match(value) and _is_text(value):
        return value
    return _double_quoted(value)


def _is_text(value: str) -> bool:
    try:
        return scalar(value) == value
    except ValueError:
        return False


def _double_quoted(value: str) -> str:
    return "".join(
        character if character.isprintable() else f"\\U{ord(character):08X}"
        for character in json.dumps(value, ensure_ascii=False)
    )


def _prove(before: Parsed, after: Parsed, changes: Mapping[Pointer, Scalar]) -> None:
    """Fail rather than hand out an edit that changed anything else."""
    if _flat(after, set()) != {**_flat(before, set(changes)), **changes}:
        raise Unreadable(f"{before.source}: the edit would have changed more than was asked for")


def _flat(parsed: Parsed, without: set[Pointer]) -> dict[Pointer, object]:
    return {pointer: _at(parsed.data, pointer) for pointer in parsed.spans if pointer not in without}


def _at(data: object, pointer: Pointer) -> object:
    for part in pointer:
        data = data[part]  # type: ignore[index]
    return data
