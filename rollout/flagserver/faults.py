"""What can be made to go wrong while the server runs, so that whoever depends on it can be tried out."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from rollout.errors import Usage
from rollout.flagserver.refusal import CONFLICT, Refusal

FAULTS: Final[Mapping[str, str]] = {
    "400-pending": "a change is refused because it would break one that is planned, unless ?ignoreConflicts=true",
    "401": "the access token is not known",
    "403": "the access token may not do this",
    "404": "nothing is found",
    "405": "a change of a flag needs an approval, unless the token bypasses or it is a dry run",
    "409": "somebody else is changing the same thing",
    "422": "the patch is not understood",
    "429-global": "too many requests of the account; X-Ratelimit-Global-* and -Reset",
    "429-route": "too many requests of this route; X-Ratelimit-Route-* and -Reset",
    "429-token": "too many requests of this token; X-Ratelimit-Auth-Token-*",
    "429-ip": "too many requests of this address; Retry-After",
    "429-past": "too many requests of this route, with a reset that has passed",
    "500": "an internal error",
    "502": "a proxy's page instead of an answer",
    "503": "a proxy's page instead of an answer",
    "timeout-before": "no answer, and nothing was done",
    "timeout-after": "no answer, but it was done",
    "slow": "the answer takes `seconds`",
    "drip": "the answer's body comes a byte each 0.2 s",
    "lost-write": "a change is answered as if it were done, and is not",
    "foreign-write": "somebody else changes the flag just before",
    "reversed-weights": "a rollout is stored with its variations in reverse order",
    "active-release": "LaunchDarkly's own release of the flag is going on (on: read)",
    "drop-stream": "the streams that are open end, once",
    "half-open": "nothing more is sent on the streams that are open, and they stay",
    "refuse-stream": "no new stream: 503",
    "malformed-patch": "a change is streamed as half of its JSON",
}
AT_THE_DOOR: Final = frozenset(name for name in FAULTS if name[0].isdigit()) | {
    "timeout-before",
    "timeout-after",
    "slow",
    "drip",
}
WHILE_WRITING: Final = frozenset({"lost-write", "foreign-write", "reversed-weights"})
AT_ONCE: Final = frozenset({"drop-stream", "half-open"})
PROXY_PAGE: Final = b"<html><body><h1>Bad gateway</h1></body></html>"

_FLAG_PATHS: Final = "/api/v2/flags/"
_CHANGES_ONLY: Final = frozenset({"400-pending", "405"})


@dataclass(slots=True, kw_only=True)
class Fault:
    """One that is on: for `times` requests (None: until it is lifted) that change something, or that only read."""

    name: str
    times: int | None = None
    seconds: float = 1.0
    on: str = "write"

    def __post_init__(self) -> None:
        if self.name not in FAULTS:
            raise Usage(f"there is no fault {self.name!r}; there are {', '.join(FAULTS)}")
        if self.on not in ("write", "read", "any"):
            raise Usage(f"a fault is on for write, read or any, not {self.on!r}")

    def meets(self, *, write: bool) -> bool:
        """Whether it is meant for such a request."""
        return self.on == "any" or (self.on == "write") == write


class Faults:
    """Those that are on; from any thread."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._on: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Switch one on."""
        with self._guard:
            self._on.append(fault)

    def lift(self) -> None:
        """Switch all off."""
        with self._guard:
            self._on.clear()

    def names(self) -> list[str]:
        """Those that are on."""
        with self._guard:
            return [fault.name for fault in self._on]

    def take(
        self, among: Collection[str], *, write: bool = True, except_for: Collection[str] = ()
    ) -> Fault | None:
        """The first of these that meets such a request; it counts as met."""
        with self._guard:
            for fault in self._on:
                if fault.name in among and fault.name not in except_for and fault.meets(write=write):
                    self._count(fault)
                    return fault
        return None

    def _count(self, fault: Fault) -> None:
        if fault.times is not None:
            fault.times -= 1
            if fault.times <= 0:
                self._on.remove(fault)


def spared(path: str, method: str, *, rehearses: bool, ignores_conflicts: bool, bypasses: bool) -> set[str]:
    """Faults that a request does not meet: those of changes of flags, or that its sender may pass."""
    spares: set[str] = set()
    if not path.startswith(_FLAG_PATHS) or method != "PATCH":
        spares |= _CHANGES_ONLY
    if ignores_conflicts:
        spares.add("400-pending")
    if bypasses or rehearses:
        spares.add("405")
    return spares


def refusal(fault: Fault) -> Refusal:
    """What a fault with a status answers."""
    status = int(fault.name[:3])
    if status == 429:
        return Refusal(429, "You've exceeded the API rate limit. Try again later.", headers=_limits(fault))
    if status == 409:
        return Refusal(409, "Conflict: the resource is being changed by somebody else. Retry.", CONFLICT)
    return Refusal(status, FAULTS[fault.name].capitalize())


def _limits(fault: Fault) -> dict[str, str]:
    if fault.name == "429-ip":
        return {"Retry-After": str(max(1, round(fault.seconds)))}
    family = {"429-global": "Global", "429-token": "Auth-Token"}.get(fault.name, "Route")
    reset = "X-Ratelimit-Auth-Token-Reset" if family == "Auth-Token" else "X-Ratelimit-Reset"
    wait = -5.0 if fault.name == "429-past" else fault.seconds
    at = str(round((time.time() + wait) * 1000))
    return {f"X-Ratelimit-{family}-Limit": "5", f"X-Ratelimit-{family}-Remaining": "0", reset: at}
