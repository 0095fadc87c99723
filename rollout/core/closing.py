"""For how long nothing might rise: the time that no deadline counts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from rollout.core.freeze import Freeze
from rollout.core.window import Window

Span = tuple[datetime, datetime]


def closed_time(
    windows: Sequence[Window], freezes: Sequence[Freeze], since: datetime, until: datetime
) -> timedelta:
    """How much of a time no window was open in, or a freeze held. No windows are always open."""
    opened = (
        [(since, until)] if not windows else [at for each in windows for at in each.openings(since, until)]
    )
    frozen = [(max(each.begins, since), min(each.ends, until)) for each in freezes]
    whole = max(until - since, timedelta(0))
    return whole - _length(opened) + _length(_both(opened, frozen))


def _both(some: Sequence[Span], others: Sequence[Span]) -> list[Span]:
    return [(max(a, c), min(b, d)) for a, b in some for c, d in others]


def _length(spans: Iterable[Span]) -> timedelta:
    """Of all of them together, counting once what several have in common."""
    length, reached = timedelta(0), None
    for begin, end in sorted(span for span in spans if span[0] < span[1]):
        begin = begin if reached is None else max(begin, reached)
        length += max(end - begin, timedelta(0))
        reached = end if reached is None else max(reached, end)
    return length
