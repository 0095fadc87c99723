"""Lengths of time and numbers as people say them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta

_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))

_NUMBER = re.compile(r"(?<![\w.:/-])[-+]?\d[\d,.]*")


def span(time: timedelta) -> str:
    """Its two largest units: `1 h 36 min`."""
    seconds = max(0, round(time.total_seconds()))
    for place, (unit, size) in enumerate(_UNITS):
        if seconds >= size:
            smaller, fine = _UNITS[min(place + 1, len(_UNITS) - 1)]
            rest = round(seconds % size / fine)
            if rest * fine >= size:
                return span(timedelta(seconds=(seconds // size + 1) * size))
            return f"{seconds // size} {unit}" + (f" {rest} {smaller}" if rest and fine < size else "")
    return "0 s"


def per_cent(share: float) -> str:
    """A share of 1, to two digits: `0.41%`."""
    return f"{float(f'{100 * share:.2g}'):g}%"


def wording(text: str) -> str:
    """A sentence without its numbers, which move with every look: what differs then is news. Names keep theirs."""
    return _NUMBER.sub("#", text)


def aligned(rows: Sequence[Sequence[str]], *, right: frozenset[int] = frozenset()) -> list[str]:
    """Rows of cells as lines, each column as wide as its widest cell; those in `right` end at one edge."""
    if not rows:
        return []
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
