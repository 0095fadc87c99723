"""An answer read by the letter: what is missing, misshapen or impossible in it is Unanswered, and never zero."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from math import inf, isfinite, nan
from typing import NoReturn, Protocol

from rollout.core.document import read_pointer

_MOST = 10**15
_LONG = 10**6
MOST_VALUES = 100_000
"""Values of one answer. More are refused, for a part of them would be another sample."""


class Unanswered(Exception):
    """A provider gave no answer that counts; the text says why, and holds no secret."""


class Answer(Protocol):
    """What came back, by the names that a query gives to it."""

    def one(self, name: str) -> object:
        """A single value. Raises Unanswered."""
        ...

    def many(self, name: str) -> Sequence[object]:
        """A list of values, which may be empty. Raises Unanswered."""
        ...


class JsonAnswer:
    """A JSON document; names are JSON pointers (RFC 6901)."""

    def __init__(self, content: bytes) -> None:
        try:
            self._document: object = json.loads(
                content, parse_constant=_refuse_constant, object_pairs_hook=_members
            )
        except (ValueError, RecursionError) as error:
            why = str(error) if isinstance(error, _NotStrict) else "is no JSON"
            raise Unanswered(f"what came back {why}") from None

    def one(self, name: str) -> object:
        """The value at a pointer."""
        found = self._document
        for key in map(str, read_pointer(name)):
            if isinstance(found, dict) and key in found:
                found = found[key]
            elif isinstance(found, list) and key.isascii() and key.isdecimal() and int(key) < len(found):
                found = found[int(key)]
            else:
                raise Unanswered(f"there is no {name} in what came back")
        return found

    def many(self, name: str) -> Sequence[object]:
        """The list at a pointer."""
        found = self.one(name)
        if not isinstance(found, list):
            raise Unanswered(f"{name} is {shown(found)}, and no list")
        if len(found) > MOST_VALUES:
            raise Unanswered(f"{name} has {len(found)} values, more than {MOST_VALUES}")
        return found


def whole(value: object, name: str) -> int:
    """A count. `12.0` is one; a truth value, text, a fraction and anything below 0 are not."""
    found = number(value, name)
    if not 0 <= found <= _MOST or not _is_whole(value):
        raise Unanswered(f"{name} is {shown(value)}, and no count")
    return int(found)


def number(value: object, name: str) -> float:
    """A finite number of any type but a truth value."""
    if not isinstance(value, int | float | Decimal) or isinstance(value, bool):
        raise Unanswered(f"{name} is {shown(value)}, and no number")
    if not isfinite(found := _as_float(value)):
        raise Unanswered(f"{name} is {shown(value)}, and no finite number")
    return found


def _is_whole(value: object) -> bool:
    # Of a decimal number with many digits the nearest float may be whole.
    return isinstance(value, int | float | Decimal) and value == int(value)


class _NotStrict(ValueError):
    """JSON that some read and others do not."""


def _refuse_constant(name: str) -> NoReturn:
    raise _NotStrict(f"holds {name}, which is no JSON")


def _members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _NotStrict("has a member twice")
    return members


def shown(value: object) -> str:
    """What a value is, and not which: an answer may hold what nobody should read in a log. Of a number its size."""
    match value:
        case None:
            return "null"
        case bool():
            return "a truth value"
        case int() | float() | Decimal():
            return _size(value)
        case str() | bytes() | bytearray() | memoryview():
            return f"{'text' if isinstance(value, str) else 'bytes'} of length {len(value)}"
        case list() | tuple():
            return "a list"
        case dict():
            return "an object"
        case _:
            return f"of type {type(value).__name__}"


def _size(value: float | Decimal) -> str:
    found = _as_float(value)
    return f"about {found:.0e}" if _LONG <= abs(found) < inf else f"{found:.6g}"


def _as_float(value: float | Decimal) -> float:
    try:
        return float(value)
    except OverflowError:
        return inf
    except ValueError:  # A NaN that signals.
        return nan
