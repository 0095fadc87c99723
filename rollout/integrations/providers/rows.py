"""The rows of a statement's answer, as far as they were asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rollout.integrations.providers.answer import MOST_VALUES, Unanswered

_AT_ONCE = 1000


class Rows:
    """Columns by name. What is counted stands in the only row; what is a list may have any number of rows."""

    def __init__(self, columns: dict[str, list[object]]) -> None:
        self._columns = columns

    def one(self, name: str) -> object:
        """The value of a column, of which there must be one."""
        values = self._columns[name]
        if len(values) != 1:
            raise Unanswered(f"{len(values) or 'no'} rows came back where {name} is one value")
        return values[0]

    def many(self, name: str) -> Sequence[object]:
        """The values of a column, row by row."""
        return self._columns[name]


def fetched(
    present: Sequence[str], fetch: Callable[[int], Sequence[Sequence[Any]]], wanted: Sequence[str]
) -> Rows:
    """The columns that are wanted, read a few rows at a time. Raises Unanswered for too many, and for a column that
    is not there, or is there twice."""
    for name in wanted:
        if (times := list(present).count(name)) != 1:
            which = f"is there {times} times" if times else f"is not among the {len(present)} that came back"
            raise Unanswered(f"the column {name} {which}")
    places, columns, rows = [list(present).index(name) for name in wanted], [[] for _ in wanted], 0  # type: ignore[var-annotated]
    while chunk := fetch(_AT_ONCE):
        rows += len(chunk)
        if rows > MOST_VALUES:
            raise Unanswered(f"more than {MOST_VALUES} rows came back")
        for place, column in zip(places, columns, strict=True):
            column += [row[place] for row in chunk]
    return Rows(dict(zip(wanted, columns, strict=True)))
