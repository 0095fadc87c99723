"""How a machine writes a value into a document that people keep."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from rollout.integrations.documents.text import scalar

Scalar = str | int | float | bool | None
Value = Scalar | Sequence[Scalar] | Mapping[str, Scalar]

DOUBLE = '"'

# Text that is the same plain in every position of every reader: no indicator, no colon, no comment sign.
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./+@-]*\Z")


def spell(value: Value, style: str | None = None) -> str:
    """The value in the quotes of `style`, if it can be written so; lists and mappings in brackets, and the text in a
    new mapping in quotes.

    Raises ValueError for a number that is not finite.
    """
    if isinstance(value, Mapping):
        return (
            "{"
            + ", ".join(f"{spell(key, style)}: {spell(item, DOUBLE)}" for key, item in value.items())
            + "}"
        )
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(spell(item, style) for item in value) + "]"
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
