"""How many tokens copies may still use: those answered in the last minute, and a guess for those under way."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

_WINDOW_S = 60.0


class TokenBudget:
    """Tokens of any one minute. Without a limit there is always room."""

    def __init__(self, per_minute: int | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = per_minute
        self._clock = clock
        self._answered: deque[tuple[float, int]] = deque()
        self._spent = 0
        self._reserved = 0

    def reserve(self, guess: int) -> bool:
        """Set so many tokens aside for a copy; false if there is no room for them. To be settled once."""
        if self._limit is not None and self.used + guess > self._limit:
            return False
        self._reserved += guess
        return True

    def settle(self, guess: int, used: int) -> None:
        """A copy that had reserved `guess` has used this many; 0 if it was never sent."""
        self._reserved -= guess
        if used and self._limit is not None:
            self._answered.append((self._clock(), used))
            self._spent += used

    @property
    def used(self) -> int:
        """What counts against the limit now."""
        begins = self._clock() - _WINDOW_S
        while self._answered and self._answered[0][0] <= begins:
            self._spent -= self._answered.popleft()[1]
        return self._spent + self._reserved
