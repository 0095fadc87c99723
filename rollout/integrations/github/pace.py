"""How long to wait for GitHub: longer with each try, and until a rate limit ends."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_FIRST_S, _LONGEST_S = 0.25, 8.0
_UNTOLD_S = 60.0
"""What GitHub asks for where a limit says nothing of when it ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """The time and the chance of the client. `jitter` gives [0, 1); one answer may take `answer_s`."""

    monotonic: Callable[[], float] = time.monotonic
    epoch: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    jitter: Callable[[], float] = random.random
    answer_s: float = 10.0


def backoff_s(attempt: int, jitter: float) -> float:
    """Seconds before try `attempt` + 2: doubling, between half and one and a half of it."""
    longest: float = min(_LONGEST_S, _FIRST_S * 2.0 ** min(attempt, 16))
    return longest * (0.5 + jitter)


def limited_s(status: int, headers: Mapping[str, str], message: str, now: float) -> float | None:
    """Seconds until a limit ends that this answer tells of, None if it tells of none. `now` is in Unix seconds.

    A limit comes as a 403 or a 429: with `retry-after`, or with nothing left and the moment at which there is more,
    or with words alone.
    """
    if status not in (403, 429):
        return None
    if (told := _number(headers.get("retry-after"))) is not None:
        return told
    if headers.get("x-ratelimit-remaining", "").strip() == "0":
        reset = _number(headers.get("x-ratelimit-reset"))
        return _UNTOLD_S if reset is None else max(0.0, reset - now)
    return _UNTOLD_S if status == 429 or "rate limit" in message.lower() else None


def _number(text: str | None) -> float | None:
    """A whole number that was sent to us, None if it is none: it only decides how long we wait."""
    digits = (text or "").strip()
    return float(digits) if digits.isascii() and digits.isdigit() and len(digits) < 16 else None
