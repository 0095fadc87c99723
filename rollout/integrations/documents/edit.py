"""Machine edits that change what was asked for and leave every other byte of the file as it was."""

from __future__ import annotations

import copy
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from rollout.core.document import DocumentErrors, Pointer, show_pointer
from rollout.errors import Unreadable
from rollout.integrations.documents.entries import Splice, insertion, removal
from rollout.integrations.documents.parsed import Parsed, Span
from rollout.integrations.documents.spelling import Scalar, Value, spell
from rollout.integrations.documents.yaml import parse

__all__ = ["Scalar", "edit"]

_NOTHING: Mapping[Pointer, Any] = {}


def edit(
    content: bytes,
    changes: Mapping[Pointer, Scalar] = _NOTHING,
    *,
    insert: Mapping[Pointer, Value] = _NOTHING,
    remove: Collection[Pointer] = (),
    source: str = "document",
) -> bytes:
    """The document with other scalars, more fields or fewer; comments, order and quoting stay.

    `changes` are new scalars in the place of old ones. `insert` are new fields, each put behind the last one of
    a mapping that exists, or, where the pointer ends in the next number, of a list. `remove` are fields
    and items that go, with all that is below them and the comment on their last line; their numbers are those
    before the edit. Comments on lines of their own stay.

    Raises Unreadable if a pointer does not exist (or does already), leads to no scalar on one line, or if the
    text around it is laid out in a way that is not understood; and DocumentErrors if the document is not
    readable in the first place. The result is read again before it is returned.
    """
    parsed = parse(content, source)
    wanted = copy.deepcopy(parsed.data)
    text = _spliced(parsed.text, sorted(_replacement(parsed, *change) for change in changes.items()))
    for pointer, value in changes.items():
        _put(wanted, pointer, value)
    for pointer, added in insert.items():
        text = _spliced(text, insertion(_again(text, source), pointer, added))
        _put(wanted, pointer, added)
    for pointer in sorted(set(remove), key=_from_the_end):
        text = _spliced(text, removal(_again(text, source), pointer))
        del _parent(wanted, pointer)[pointer[-1]]
    if not _same(_again(text, source).data, wanted):
        raise Unreadable(f"{source}: the edit would have changed more than was asked for")
    return text.encode("utf-8")


def _from_the_end(pointer: Pointer) -> tuple[int, int]:
    """What is deeper goes first, and of the items of a list the last: no other number changes meanwhile."""
    last = pointer[-1] if pointer else 0
    return -len(pointer), -last if isinstance(last, int) else 0


def _spliced(text: str, splices: Sequence[Splice]) -> str:
    """The text with splices that are in its order; the last is made first, so that no index moves."""
    for start, end, new in reversed(splices):
        text = text[:start] + new + text[end:]
    return text


def _again(text: str, source: str) -> Parsed:
    try:
        return parse(text.encode("utf-8"), source)
    except DocumentErrors as error:
        raise Unreadable(
            f"{source}: the edit would have made the document unreadable: {error.message}"
        ) from None


def _replacement(parsed: Parsed, pointer: Pointer, value: Scalar) -> Splice:
    span = parsed.spans.get(pointer)
    if not pointer or span is None or not span.is_single:
        raise Unreadable(
            f"{parsed.source}: there is no single value at {show_pointer(pointer) or 'the root'}"
        )
    if span.style in {"|", ">"} or "\n" in parsed.written(pointer):
        raise Unreadable(f"{parsed.source}: the value at {show_pointer(pointer)} spans several lines")
    return Splice(span.start, span.end, _separated(parsed.text, span) + spell(value, span.style))


def _separated(text: str, span: Span) -> str:
    """An empty value stands directly behind its colon or dash, and needs a space."""
    return " " if span.start == span.end and text[span.start - 1 : span.start] not in {" ", ""} else ""


def _put(data: Any, pointer: Pointer, value: Value) -> None:
    parent, key = _parent(data, pointer), pointer[-1]
    written = dict(value) if isinstance(value, Mapping) else value
    if isinstance(parent, list) and key == len(parent):
        parent.append(written)
    else:
        parent[key] = written


def _parent(data: Any, pointer: Pointer) -> Any:
    for part in pointer[:-1]:
        data = data[part]
    return data


def _same(one: Any, other: Any) -> bool:
    """Whether both are equal to the order of their keys and the kinds of their numbers."""
    return json.dumps(one) == json.dumps(other)
