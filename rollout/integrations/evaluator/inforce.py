"""The flags and segments that are in force, and what is known of each."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from pydantic import JsonValue

Item = dict[str, JsonValue]

LONGEST_COMPLAINT = 300


@dataclass(slots=True, kw_only=True)
class InForce:
    """Never changed once it is in force, so that other threads read it as they like.

    `kept_since` holds the dials whose newest form was refused, with the time (of the monotonic clock) at which what
    is in force of them was last confirmed.
    """

    flags: dict[str, Item] = field(default_factory=dict)
    segments: dict[str, Item] = field(default_factory=dict)
    dials: set[str] = field(default_factory=set)
    kept_since: dict[str, float] = field(default_factory=dict)
    complaints: dict[str, str] = field(default_factory=dict)

    def copy(self) -> InForce:
        """One that may be changed."""
        return InForce(
            flags=dict(self.flags),
            segments=dict(self.segments),
            dials=set(self.dials),
            kept_since=dict(self.kept_since),
            complaints=dict(self.complaints),
        )

    def take(self, key: str, flag: Item, *, dial: bool) -> None:
        """A sound form came."""
        self.forget(key)
        self.flags[key] = flag
        if dial:
            self.dials.add(key)

    def keep(self, key: str, older: InForce, why: str, age_s: float) -> None:
        """An unsound form came: what was in force of it before stays, and ages."""
        self.complaints[f"flag {key}"] = f"flag {key} {why}"[:LONGEST_COMPLAINT]
        if key in older.flags:
            self.flags[key] = older.flags[key]
            self.dials |= {key} & older.dials
            self.kept_since[key] = older.kept_since.get(key, time.monotonic() - age_s)

    def forget(self, key: str) -> None:
        """Nothing is left of it."""
        self.flags.pop(key, None)
        self.dials.discard(key)
        self.kept_since.pop(key, None)
        self.complaints.pop(f"flag {key}", None)


def needed(now: InForce) -> tuple[dict[str, Item], dict[str, Item]]:
    """The dials with the flags and segments that they depend on: what others keep there is left out."""
    flags: dict[str, Item] = {}
    segments: dict[str, Item] = {}
    wanted = [(True, key) for key in sorted(now.dials)]
    while wanted:
        is_flag, key = wanted.pop()
        among, found = (now.flags, flags) if is_flag else (now.segments, segments)
        if key in among and key not in found:
            found[key] = among[key]
            wanted += _mentioned(among[key], is_flag=is_flag)
    return flags, segments


def _mentioned(item: Item, *, is_flag: bool) -> list[tuple[bool, str]]:
    """Prerequisites of a flag, and segments in the rules of either; all of them could be read by the SDK."""
    from ldclient.versioned_data_kind import FEATURES, SEGMENTS

    decoded = (FEATURES if is_flag else SEGMENTS).decode(item)
    clauses = [clause for rule in decoded.rules for clause in rule.clauses if clause.op == "segmentMatch"]
    segments = [(False, value) for clause in clauses for value in clause.values if isinstance(value, str)]
    return segments + ([(True, each.key) for each in decoded.prerequisites] if is_flag else [])
