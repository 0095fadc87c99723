"""Whether a flag can be trusted as a dial before a release begins: one result a check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Standing(StrEnum):
    """What came of a check. Only the first two let a release begin."""

    OK = "ok"
    WARNING = "warning"
    BLOCKED = "blocked"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagCheck:
    """One check of a flag. `id` never changes; `detail` says what was found, `advice` what to do about it."""

    id: str
    standing: Standing
    detail: str
    advice: str = ""


def is_refused(checks: Sequence[FlagCheck]) -> bool:
    """Whether a person has to change something before a release may begin, and waiting will not help."""
    return any(each.standing is Standing.BLOCKED for each in checks)


def why_not_ready(checks: Sequence[FlagCheck]) -> str | None:
    """Why a release may not begin on this flag, or None. What could not be found out blocks, and so do no checks."""
    if not checks:
        return "the flag was not checked"
    against = [each for each in checks if each.standing in (Standing.BLOCKED, Standing.UNKNOWN)]
    return "; ".join(f"{each.id}: {each.detail}" for each in against) or None
