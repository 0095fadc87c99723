"""An answer read by the letter: what is missing, misshapen or impossible in it is Unanswered, and never zero."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from math import inf, isfinite
from typing import NoReturn, Protocol

from rollout.core.document import read_pointer

_MOST = 10**15
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
            raise Unanswered(f"{name} is {_shown(found)}, and no list")
        if len(found) > MOST_VALUES:
            raise Unanswered(f"{name} has {len(found)} values, more than {MOST_VALUES}")
        return found


def whole(value: object, name: str) -> int:
    """A count. `12.0` is one; a truth value, text, a fraction and anything below 0 are not."""
    found = number(value, name)
    if found != int(found) or not 0 <= found <= _MOST:
        raise Unanswered(f"{name} is {_shown(value)}, and no count")
    return int(found)


def number(value: object, name: str) -> float:
    """A finite number of any type but a truth value."""
    if not isinstance(value, int | float | Decimal) or isinstance(value, bool):
        raise Unanswered(f"{name} is {_shown(value)}, and no number")
    try:
        found = float(value)
    except OverflowError:
        found = inf
    if not isfinite(found):
        raise Unanswered(f"{name} is {_shown(value)}, and no finite number")
    return found


class _NotStrict(ValueError):
    """JSON that some read and others do not."""


def _refuse_constant(name: str) -> NoReturn:
    raise _NotStrict(f"holds {name}, which is no JSON")


def _members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _NotStrict("has a member twice")
    return members


def _shown(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, dict | list):
        return "a list" if isinstance(value, list) else "an object"
    return repr(value)[:40]
