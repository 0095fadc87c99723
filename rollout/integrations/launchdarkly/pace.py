"""How long to wait: exponentially longer with each try, until a rate limit ends, and never in step with others."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_FIRST_S, _LONGEST_S = 0.2, 8.0
_RESETS = ("x-ratelimit-reset", "x-ratelimit-auth-token-reset")


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


def reset_s(headers: Mapping[str, str], now: float) -> float:
    """Seconds until every rate limit that these headers name has ended; 0 if none does, or it ended in the past.

    Limits of account and route, and of the token, are moments in Unix milliseconds; a limit of the address is in
    seconds from now. `now` is in Unix seconds: it may be behind or ahead of LaunchDarkly's.
    """
    waits = [_number(headers.get(name)) / 1000 - now for name in _RESETS if name in headers]
    waits.append(_number(headers.get("retry-after")))
    return max(0.0, *waits)


def _number(text: str | None) -> float:
    """A number that was sent to us, 0 if it is none: it only decides how long we wait."""
    digits = (text or "").strip()
    return (
        float(digits)
        if digits.isascii() and digits.replace(".", "", 1).isdigit() and len(digits) < 20
        else 0.0
    )
