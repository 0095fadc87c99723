"""When a release may go on: recurring windows in the calendar of a place."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator

from rollout.core.duration import Duration
from rollout.core.manifest import Document, Line

_FREQUENCIES = ("DAILY", "WEEKLY", "MONTHLY", "YEARLY")
# COUNT and UNTIL are left out: a window that ends for good would hold releases for ever, and say nothing.
_PARTS = frozenset(
    {"FREQ", "INTERVAL", "WKST", "BYDAY", "BYMONTH", "BYMONTHDAY", "BYHOUR", "BYMINUTE", "BYSETPOS"}
)
# A Monday: where every second week and every third month are counted from.
_FIRST = datetime(2024, 1, 1)
_LONGEST = timedelta(days=31)
_FAR = timedelta(days=5 * 366)


class Window(Document):
    """Times in which the share may rise: each begins where the RFC 5545 rule says, and lasts `duration`.

    `rule` is a recurrence like `FREQ=WEEKLY;BYDAY=MO,TU,WE,TH;BYHOUR=9` in the clock of `time_zone`: nine in the
    morning stays nine when the clocks change. Parts that it does not name are 0: it begins on the hour, at midnight.
    `INTERVAL` counts from Monday, 1 January 2024.
    """

    rule: Line
    duration: Duration
    time_zone: Line = Field(description="IANA name, like `Europe/Berlin` or `UTC`.")

    @field_validator("rule")
    @classmethod
    def _is_a_recurrence(cls, rule: str) -> str:
        from dateutil.rrule import rrulestr

        parts = dict(part.partition("=")[::2] for part in rule.upper().split(";"))
        if parts.get("FREQ") not in _FREQUENCIES:
            raise ValueError(f"a rule begins with FREQ={'|'.join(_FREQUENCIES)}")
        if unknown := parts.keys() - _PARTS:
            raise ValueError(f"{', '.join(sorted(unknown))} cannot stand in the rule of a window")
        try:
            first = rrulestr(rule.upper(), dtstart=_FIRST).after(_FIRST, inc=True)
        except (ValueError, TypeError, AttributeError) as error:
            raise ValueError(f"not a recurrence of RFC 5545: {error}") from None
        if first is None or first - _FIRST > _FAR:
            raise ValueError("the rule never comes true")
        return rule.upper()

    @field_validator("duration")
    @classmethod
    def _has_an_end(cls, duration: timedelta) -> timedelta:
        if not timedelta(0) < duration <= _LONGEST:
            raise ValueError("a window lasts between a moment and 31 days")
        return duration

    @field_validator("time_zone")
    @classmethod
    def _is_somewhere(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            raise ValueError(
                f"{name!r} is not a time zone of the IANA database, like Europe/Berlin"
            ) from None
        return name

    def closes_at(self, at: datetime) -> datetime | None:
        """When the window that is open at `at` closes, or None if none is open."""
        begin = self._begin(at, before=True)
        return None if begin is None or at >= begin + self.duration else begin + self.duration

    def opens_at(self, at: datetime) -> datetime | None:
        """When it opens next, behind `at`."""
        return self._begin(at, before=False)

    def openings(self, since: datetime, until: datetime) -> list[tuple[datetime, datetime]]:
        """(opens, closes) of each time that it is open in between, in order."""
        from dateutil.rrule import rrulestr

        zone = ZoneInfo(self.time_zone)
        one, other = (at.astimezone(zone).replace(tzinfo=None) for at in (since - self.duration, until))
        begins = rrulestr(self.rule, dtstart=_FIRST).between(one, other, inc=True)
        local = [begin.replace(tzinfo=zone).astimezone(since.tzinfo) for begin in begins]
        return [
            (max(at, since), min(at + self.duration, until)) for at in local if at + self.duration > since
        ]

    def _begin(self, at: datetime, *, before: bool) -> datetime | None:
        from dateutil.rrule import rrulestr

        zone = ZoneInfo(self.time_zone)
        local = at.astimezone(zone).replace(tzinfo=None)
        rule = rrulestr(self.rule, dtstart=_FIRST)
        found = rule.before(local, inc=True) if before else rule.after(local)
        return None if found is None else found.replace(tzinfo=zone).astimezone(at.tzinfo)


def closed_until(windows: Sequence[Window], at: datetime) -> datetime | None:
    """When the next of the windows opens, or None if one is open now. No windows are always open."""
    if not windows or any(window.closes_at(at) is not None for window in windows):
        return None
    return min(opens for window in windows if (opens := window.opens_at(at)) is not None)
