"""What is in force of the flags that come in: sound ones, and the last sound form of any other."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from rollout.core.flag import Slot
from rollout.core.flagmodel import UnsoundFlagError, check_evaluable, when_off
from rollout.integrations.evaluator.inforce import LONGEST_COMPLAINT, InForce, Item

if TYPE_CHECKING:
    from rollout.integrations.evaluator.memory import FlagMemory

_MOST_COMPLAINTS = 5
# What the SDK raises for what it cannot read.
_UNREADABLE = (ValueError, TypeError, KeyError, AttributeError)


def every_flag(_: JsonValue) -> bool:
    """Where all flags are ours, all of them are dials."""
    return True


def gives_candidate(flag: JsonValue) -> bool:
    """Whether a flag among those of others is a dial: no other one can give anybody the candidate."""
    variations = flag.get("variations") if isinstance(flag, dict) else None
    return isinstance(variations, list) and Slot.CANDIDATE.value in variations


class SoundFlags:
    """Checks what comes in and puts what is sound into the SDK's store; for one thread that writes.

    Dials are checked strictly, for they decide who gets a candidate. Other flags have to be readable and no more.
    `only_forward` is for a source that may be behind what was heard already (a relay that was cut off): an older form
    of a dial is then not taken, unless it is off or another flag of that name.
    """

    def __init__(
        self,
        store: FlagMemory,
        *,
        is_dial: Callable[[JsonValue], bool] = every_flag,
        only_forward: bool = False,
    ) -> None:
        self._store = store
        self._only_forward = only_forward
        self._sink: Any = store
        self._is_dial = is_dial
        self.now = InForce()
        """What is in force."""

    def put_into(self, sink: Any) -> None:
        """Put what is sound into this update sink of the SDK's, another one after a fork."""
        self._sink = sink

    @property
    def ready(self) -> bool:
        """Whether anything was ever sound."""
        return self._store.initialized

    @property
    def versions(self) -> dict[str, int]:
        """Versions in force of all dials."""
        now = self.now
        return {
            key: version for key in sorted(now.dials) if (version := _version(now.flags[key])) is not None
        }

    @property
    def complaint(self) -> str | None:
        """Why the newest form of some is not in force."""
        complaints = list(self.now.complaints.values())
        more = len(complaints) - _MOST_COMPLAINTS
        shown = complaints[:_MOST_COMPLAINTS] + ([f"and {more} more"] if more > 0 else [])
        return "; ".join(shown) or None

    def age_of(self, key: str, age_s: float) -> float:
        """Seconds since a flag was last confirmed, where all of them were confirmed `age_s` ago."""
        since = self.now.kept_since.get(key)
        return age_s if since is None else max(age_s, time.monotonic() - since)

    def age(self, since: Mapping[str, float]) -> None:
        """Some of what is in force was last confirmed at other times (of the monotonic clock) than the rest."""
        now = self.now.copy()
        now.kept_since.update(since)
        self.now = now

    def take_all(self, flags: JsonValue, segments: JsonValue, *, age_s: float) -> None:
        """Take what is all there is; what was there and is not any more is gone. `age_s` is that of what was there.

        Raises ValueError, and leaves everything as it is, if there is nothing sound in it: an empty object is what a
        half-finished script writes, and must not move every user at once.
        """
        if not isinstance(flags, dict) or not flags:
            raise ValueError("holds no flags")
        if not isinstance(segments, dict):
            raise ValueError("holds segments that are not an object")
        now = InForce()
        for key, segment in segments.items():
            self._judge_segment(now, key, segment)
        for key, flag in flags.items():
            if not is_gone(flag):
                self._judge(now, key, flag, age_s)
        for key in self.now.dials - now.flags.keys():
            now.complaints.setdefault(f"flag {key}", f"flag {key} is gone")
        if not now.flags:
            raise ValueError("; ".join(list(now.complaints.values())[:_MOST_COMPLAINTS]) or "holds no flags")
        self._put_all(now)

    def take_flag(self, key: str, flag: JsonValue, *, age_s: float) -> None:
        """Take a newer form of one flag; one that is not newer is left, as the SDK leaves it."""
        from ldclient.versioned_data_kind import FEATURES

        version = _version(flag)
        if is_gone(flag):
            self.drop_flag(key, version)
            return
        if self._is_old(FEATURES, key, version):
            return
        now = self.now.copy()
        self._judge(now, key, flag, age_s)
        if now.flags.get(key) is not self.now.flags.get(key):
            self._put(FEATURES, now, now.flags[key])
        self.now = now

    def drop_flag(self, key: str, version: int | None) -> None:
        """One flag was deleted or archived: stable from now on. Raises ValueError without a version."""
        from ldclient.versioned_data_kind import FEATURES

        if version is None:
            raise ValueError(f"deletes flag {key[:100]} at no version")
        if self._is_old(FEATURES, key, version):
            return
        now = self.now.copy()
        now.forget(key)
        if key in self.now.dials:
            now.complaints[f"flag {key}"] = f"flag {key} is gone"
        self._sink.delete(FEATURES, key, version)
        self.now = now

    def take_segment(self, key: str, segment: JsonValue) -> None:
        """Take a newer form of one segment, or its end."""
        from ldclient.versioned_data_kind import SEGMENTS

        version = _version(segment)
        if self._is_old(SEGMENTS, key, version):
            return
        now = self.now.copy()
        if is_gone(segment):
            now.segments.pop(key, None)
            self._sink.delete(SEGMENTS, key, version or 0)
        elif self._judge_segment(now, key, segment):
            self._put(SEGMENTS, now, now.segments[key])
        self.now = now

    def _judge(self, now: InForce, key: str, flag: JsonValue, age_s: float) -> None:
        dial = key in self.now.dials or self._is_dial(flag)
        try:
            sound = _sound(key, flag, dial=dial)
            if dial and self._only_forward:
                _check_not_behind(sound, self.now.flags.get(key))
            now.take(key, sound, dial=dial)
        except _UNREADABLE as error:
            # One flag spoilt by hand must not hold up the roll-back of another.
            now.keep(key, self.now, str(error), age_s)

    def _judge_segment(self, now: InForce, key: str, segment: JsonValue) -> bool:
        from ldclient.versioned_data_kind import SEGMENTS

        try:
            SEGMENTS.decode(segment)
        except _UNREADABLE:
            now.complaints[f"segment {key}"] = f"segment {key} is malformed"[:LONGEST_COMPLAINT]
            return False
        assert isinstance(segment, dict)
        now.segments[key] = segment
        now.complaints.pop(f"segment {key}", None)
        return True

    def _is_old(self, kind: Any, key: str, version: int | None) -> bool:
        known = self._store.version(kind, key)
        return known is not None and version is not None and version <= known

    def _put(self, kind: Any, now: InForce, item: Item) -> None:
        if self._store.initialized:
            self._sink.upsert(kind, item)
        else:
            self._put_all(now)

    def _put_all(self, now: InForce) -> None:
        from ldclient.versioned_data_kind import FEATURES, SEGMENTS

        self._sink.init({FEATURES: now.flags, SEGMENTS: now.segments})
        self.now = now


def is_gone(item: JsonValue) -> bool:
    """Whether a service says of a flag or a segment that there is none any more."""
    return isinstance(item, dict) and (item.get("deleted") is True or item.get("archived") is True)


def _sound(key: str, flag: JsonValue, *, dial: bool) -> Item:
    from ldclient.versioned_data_kind import FEATURES

    if not isinstance(flag, dict):
        raise UnsoundFlagError("is not an object")
    if dial and flag.get("on") is False and flag.get("offVariation") == 0:
        return when_off(key, flag)
    if dial:
        check_evaluable(key, flag)
    elif flag.get("key") != key or _version(flag) is None:
        raise UnsoundFlagError("has another key or no version")
    FEATURES.decode(flag)  # raises where the SDK itself would refuse everything
    return flag


def _check_not_behind(item: Item, known: Item | None) -> None:
    """Raise UnsoundFlagError for an older form that is on. What was off tells no salt, so that it may be the same flag."""
    version, before = _version(item), _version(known)
    if known is None or version is None or before is None or version >= before or item.get("on") is False:
        return
    if known.get("on") is False or known.get("salt") == item.get("salt"):
        raise UnsoundFlagError(f"came at version {version}, behind version {before} that is in force")


def _version(item: JsonValue) -> int | None:
    version = item.get("version") if isinstance(item, Mapping) else None
    return version if isinstance(version, int) and not isinstance(version, bool) else None
