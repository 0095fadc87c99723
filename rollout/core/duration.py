"""Lengths of time, as documents write them."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator, Field, PlainSerializer

_DURATION = re.compile(r"^(\d{1,6})(ms|s|m|h|d)$")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def _parse_duration(value: object) -> object:
    if isinstance(value, timedelta):
        return value
    if isinstance(value, str) and (match := _DURATION.match(value)):
        return timedelta(seconds=int(match[1]) * _UNITS[match[2]])
    raise ValueError("a duration is a number with ms, s, m, h or d, like '30m' or '24h'")


def written(duration: timedelta) -> str:
    """As a document writes it, so that what was read can be read again: `30m`, `24h`."""
    milliseconds = round(duration / timedelta(milliseconds=1))
    for unit, seconds in reversed(_UNITS.items()):
        number, rest = divmod(milliseconds, round(seconds * 1000))
        if number and not rest:
            return f"{number}{unit}"
    return "0s"


Duration = Annotated[
    timedelta,
    BeforeValidator(_parse_duration, json_schema_input_type=str),
    PlainSerializer(written, return_type=str, when_used="json"),
    Field(json_schema_extra={"type": "string", "pattern": _DURATION.pattern, "examples": ["30m", "24h"]}),
]
"""A length of time, written like `90s`, `30m`, `24h` or `7d`."""
