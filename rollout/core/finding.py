"""What a check found: one finding with its place, and its message."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum

from rollout.core.document import Place


class Severity(StrEnum):
    """What a finding of the rule does."""

    BLOCK = "block"
    WARN = "warn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One rule that one manifest does not satisfy, with the place that it points to.

    `end` is the place behind what is pointed at, where it is known; `waived_by` approved the waiver that holds,
    and on `waiver_expires` it no longer does.
    """

    rule: str
    severity: Severity
    message: str
    remediation: str
    file: str
    pointer: str
    place: Place = field(default=Place(1, 1))
    end: Place | None = None
    source_line: str = ""
    waived_by: str | None = None
    waiver_reason: str | None = None
    waiver_expires: date | None = None
    can_be_waived: bool = True

    @property
    def blocks(self) -> bool:
        """Whether the change must not go on."""
        return self.severity is Severity.BLOCK and self.waived_by is None


_PLACEHOLDER = re.compile(r"\{([a-z_]+(?:\.[A-Za-z0-9_]+)*)\}")


def fill(message: str, inputs: Mapping[str, object]) -> str:
    """A message with `{artifact.max_rank}` replaced by the input's value; an unknown input reads `?`.

    In a list every item is asked: `{serving.environment}` names all environments, each once.

    A part between semicolons that speaks of empty lists alone is left out, unless every part does.
    """
    parts = message.split("; ")
    telling = [part for part in parts if not _is_about_nothing(part, inputs)]
    return "; ".join(
        _PLACEHOLDER.sub(lambda match: _shown(_lookup(inputs, match[1].split("."))), part)
        for part in telling or parts
    )


def _is_about_nothing(part: str, inputs: Mapping[str, object]) -> bool:
    values = [_lookup(inputs, match[1].split(".")) for match in _PLACEHOLDER.finditer(part)]
    return bool(values) and all(value == [] for value in values)


def _lookup(value: object, path: Sequence[str]) -> object:
    for at, part in enumerate(path):
        if isinstance(value, list | tuple):
            return list(dict.fromkeys(str(_lookup(item, path[at:])) for item in value))
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _shown(value: object) -> str:
    if value is None:
        return "?"
    if isinstance(value, list | tuple):
        shown = [str(item) for item in value[:4]]
        return (
            ", ".join(shown) + (f" and {len(value) - 4} more" if len(value) > 4 else "") if shown else "none"
        )
    text = str(value)
    return text if len(text) <= 120 else text[:119] + "…"
