"""What SDKs say was evaluated. Whoever has the SDK key may say anything: only what is small and sound is kept."""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Mapping
from typing import Final

from rollout.core.flag import HIGHEST
from rollout.flagserver.book import Json

_KIND: Final = re.compile(r"[A-Za-z0-9._-]{1,100}")
_MOST_KINDS: Final = 20
_LONGEST_DEFAULT: Final = 1000
_LATEST_MS: Final = 253_402_300_799_999  # the year 9999


class Evaluations:
    """When each flag was last evaluated, for which kinds of contexts, with which default; from any thread."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._seen: dict[str, Json] = {}

    def of(self, key: str, kept: object) -> Json:
        """What is known of a flag, where `kept` was written down before; empty if it was never evaluated."""
        with self._guard:
            return self._seen.get(key) or sound(kept)

    def saw(self, key: str, said: Mapping[str, object], kept: object, now_ms: int) -> bool:
        """Remember a summary of one flag; the answer is whether it is the first."""
        before = self.of(key, kept)
        kinds = [*before.get("kinds", []), *_kinds(said.get("contextKinds"))]
        seen = {"at": now_ms, "default": said.get("default"), "kinds": kinds}
        with self._guard:
            self._seen[key] = sound(seen)
        return not before

    def all(self) -> dict[str, Json]:
        """What was seen since the server began."""
        with self._guard:
            return dict(self._seen)


def sound(kept: object) -> Json:
    """An evaluation that can be written, without what of it cannot; empty for what is none."""
    at = kept.get("at") if isinstance(kept, dict) else None
    if not isinstance(kept, dict) or type(at) is not int or not 0 <= at <= _LATEST_MS:
        return {}
    shown = {"default": kept["default"]} if "default" in kept and _is_plain(kept["default"]) else {}
    return {"at": at, **shown, "kinds": sorted(set(_kinds(kept.get("kinds"))))[:_MOST_KINDS]}


def _kinds(found: object) -> list[str]:
    listed = found if isinstance(found, list) else []
    return [kind for kind in listed if isinstance(kind, str) and _KIND.fullmatch(kind)]


def _is_plain(value: object) -> bool:
    """Whether it is one short value that every JSON reader takes."""
    match value:
        case None | bool():
            return True
        case int():
            return abs(value) <= HIGHEST
        case float():
            return math.isfinite(value)
        case str():
            return len(value) <= _LONGEST_DEFAULT and not any("\ud800" <= each <= "\udfff" for each in value)
    return False
