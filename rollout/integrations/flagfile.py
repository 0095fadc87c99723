"""Flags in one JSON file, in LaunchDarkly's own flag model: the embedded dial that needs no account."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from pydantic import JsonValue

from rollout.core.flagmodel import (
    MARK,
    Dial,
    aimed,
    check_nothing_in_front,
    check_slots,
    fallthrough,
    fresh_flag,
    is_taken_back,
    read_dial,
    without_ring,
)
from rollout.core.plan import Share
from rollout.flagdocument import Flag, FlagDocument, Note


class FlagFile(FlagDocument):
    """FlagStore over a flag file; `path` may be a symbolic link and need not exist yet."""

    def __init__(self, path: Path, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        super().__init__(path, _LaunchDarklyModel(), now=now)


class _LaunchDarklyModel:
    """Variations by index, off variation and fallthrough apart, and a salt that each flag keeps for ever."""

    empty: Mapping[str, JsonValue] = {"segments": {}}

    def fresh(self, key: str) -> Flag:
        return fresh_flag(key, secrets.token_hex(16))

    def read(self, key: str, flag: Flag) -> Dial:
        return read_dial(key, flag)

    def turned(self, flag: Flag, share: Share, ring: frozenset[str], *, on: bool) -> Flag:
        kept = flag if check_nothing_in_front(flag) == ring else aimed(flag, ring)
        return {**kept, "on": on, "fallthrough": fallthrough(share)}

    def version(self, flag: Flag) -> JsonValue:
        return flag.get("version")

    def taken_back(self, key: str, flag: Flag) -> Flag | None:
        check_slots(flag)
        kept = without_ring(flag)
        if is_taken_back(kept) and kept == flag and flag.get("key") == key:
            return None
        return {**kept, "key": key, "on": False, "offVariation": 0, "fallthrough": fallthrough(Share.ZERO)}

    def signed(self, flag: Flag, version: int, note: Note | None) -> Flag:
        changed = {**flag, "version": version}
        if note is not None:
            changed[MARK] = {"by": note.by, "comment": note.comment, "at": note.at}
        return changed

    def noted(self, flag: Flag) -> JsonValue:
        return flag.get(MARK)
