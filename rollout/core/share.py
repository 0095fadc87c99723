"""Exact shares of traffic."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

WHOLE = 100_000
_SHARE = re.compile(r"^(\d{1,3})(?:\.(\d{1,3}))?\s?%$")


@dataclass(frozen=True, slots=True, order=True)
class Share:
    """A share of traffic in whole thousandths of a percent, 0 to 100000: exact, as flags store it."""

    thousandths: int

    ZERO: ClassVar[Share]
    FULL: ClassVar[Share]

    def __post_init__(self) -> None:
        if type(self.thousandths) is not int or not 0 <= self.thousandths <= WHOLE:
            raise ValueError(f"a share is 0 to {WHOLE} thousandths of a percent, not {self.thousandths!r}")

    @classmethod
    def parse(cls, text: str) -> Share:
        """Read `12.5%`. Raises ValueError on anything finer than 0.001 % or outside 0 to 100 %."""
        match = _SHARE.match(text)
        if match is None:
            raise ValueError(f"{text!r} is not a share; write it like '5%' or '12.5%'")
        return cls(int(match[1]) * 1000 + int((match[2] or "").ljust(3, "0")))

    def __str__(self) -> str:
        whole, rest = divmod(self.thousandths, 1000)
        return f"{whole}.{rest:03d}".rstrip("0").rstrip(".") + "%"

    @property
    def weights(self) -> tuple[int, int]:
        """(stable, candidate) as a flag's weights; they sum to 100000."""
        return WHOLE - self.thousandths, self.thousandths

    @property
    def fraction(self) -> float:
        """Between 0 and 1."""
        return self.thousandths / WHOLE

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._validate, serialization=core_schema.to_string_ser_schema()
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string", "pattern": _SHARE.pattern, "examples": ["5%", "12.5%"]}

    @classmethod
    def _validate(cls, value: object) -> Share:
        if isinstance(value, Share):
            return value
        if isinstance(value, str):
            return cls.parse(value)
        raise ValueError("a share is written like '5%'")


Share.ZERO = Share(0)
Share.FULL = Share(WHOLE)
