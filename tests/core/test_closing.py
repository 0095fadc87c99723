"""What no deadline counts: nights outside the windows, and freezes, each hour once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from rollout.core.closing import closed_time
from rollout.core.freeze import Freeze
from rollout.core.window import Window

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
WORK = Window(rule="FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR;BYHOUR=9", duration=timedelta(hours=8), time_zone="UTC")
EARLY = Window(rule="FREQ=DAILY;BYHOUR=7", duration=timedelta(hours=4), time_zone="UTC")


def freeze(begins: float, ends: float) -> Freeze:
    at = [MONDAY + timedelta(hours=each) for each in (begins, ends)]
    return Freeze(name="closing", begins=at[0], ends=at[1], reason="books")


@pytest.mark.parametrize(
    ("windows", "freezes", "since", "until", "hours"),
    [
        ((), (), 0, 48, 0),
        ((WORK,), (), 10, 16, 0),
        ((WORK,), (), 16, 34, 16),
        ((WORK,), (), 18, 20, 2),
        ((WORK,), (), 0, 7 * 24, 7 * 24 - 5 * 8),
        ((WORK, EARLY), (), 0, 24, 14),
        ((), (freeze(5, 8), freeze(6, 9)), 0, 24, 4),
        ((WORK,), (freeze(0, 10), freeze(16, 40)), 0, 24, 18),
        ((), (freeze(-9, 99),), 0, 24, 24),
        ((WORK,), (), 24, 0, 0),
    ],
)
def test_each_hour_in_which_nothing_might_rise_counts_once(
    windows: tuple[Window, ...], freezes: tuple[Freeze, ...], since: float, until: float, hours: float
) -> None:
    begun, ended = (MONDAY + timedelta(hours=each) for each in (since, until))
    assert closed_time(windows, freezes, begun, ended) == timedelta(hours=hours)
