"""Users and conversations a minute, each counted once, as the judge counts them."""

from __future__ import annotations

_KEPT_MINUTES = 15
_MOST = 100_000


class UnitMinutes:
    """Remembers who was seen in each of the last minutes, and whether anything of theirs had gone wrong.

    Its memory is bounded: what is beyond 100,000 units, or older than a quarter of an hour, is counted in
    `overflow` and nowhere else. `of` is whatever the units are counted for.
    """

    def __init__(self) -> None:
        self._minutes: dict[int, dict[tuple[object, str], bool]] = {}
        self._size = 0
        self.overflow = 0

    def add(self, of: object, unit: str, at: float, *, bad: bool) -> tuple[int, int]:
        """A request of a unit, routed at `at` (Unix seconds); what is to be added to (all, bad) units a minute."""
        minute = int(at // 60)
        seen = self._minutes.get(minute)
        if seen is None:
            seen = self._begin(minute)
        key = of, unit
        before = seen.get(key)
        if before is None:
            if self._size >= _MOST or minute not in self._minutes:
                self.overflow += 1
                return 0, 0
            self._size += 1
            seen[key] = bad
            return 1, int(bad)
        if bad and not before:
            seen[key] = True
            return 0, 1
        return 0, 0

    def _begin(self, minute: int) -> dict[tuple[object, str], bool]:
        self._minutes[minute] = {}
        oldest = max(self._minutes) - _KEPT_MINUTES
        for past in [past for past in self._minutes if past < oldest]:
            self._size -= len(self._minutes.pop(past))
        return self._minutes.get(minute, {})
