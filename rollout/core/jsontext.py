"""JSON by the letter, as it is found in answers."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Final, NoReturn

_FENCE = re.compile(r"\A\s*```[A-Za-z0-9_-]{0,20}[ \t]*\r?\n(.*?)\r?\n?```\s*\Z", re.DOTALL)
_MOST_STARTS = 50

NOT_JSON: Final = object()
"""What is read from a text that is no JSON; no JSON value is it."""


def read_json(text: str) -> object:
    """The value, or NOT_JSON: NaN, Infinity and what is nested too deeply to be written again are none."""
    try:
        value: object = _DECODER.decode(text)
        json.dumps(value)
    except (ValueError, RecursionError):
        return NOT_JSON
    return value


def find_json(text: str) -> object:
    """The first JSON object or list inside a text, or NOT_JSON. Only the first 50 brackets are tried."""
    for tried, bracket in enumerate(re.finditer(r"[{\[]", text)):
        if tried == _MOST_STARTS:
            break
        try:
            value, _ = _DECODER.raw_decode(text, bracket.start())
            json.dumps(value)
        except (ValueError, RecursionError):
            continue
        found: object = value
        return found
    return NOT_JSON


def is_json(text: str) -> bool:
    """Whether the text is JSON by the letter."""
    return read_json(text) is not NOT_JSON


def strip_fence(text: str) -> str:
    """What stands inside a Markdown code fence that is the whole answer; else the text as it is."""
    fenced = _FENCE.match(text)
    return fenced[1] if fenced else text


def canonical(value: object) -> str:
    """Equal for equal values only: as text, true and 1 are not the same."""
    return json.dumps(value, sort_keys=True)


def lacks_field(reference: str, fields: Sequence[str]) -> str | None:
    """Why a reference cannot be compared field by field, or None if it can."""
    value = read_json(reference)
    if value is NOT_JSON:
        return "the reference is not JSON"
    missing = [field for field in fields if not isinstance(value, dict) or field not in value]
    return f"the reference lacks the fields {', '.join(missing)}" if missing else None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
