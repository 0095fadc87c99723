"""The metrics of an evaluation: their names, units and better side. What is not here cannot be gated on."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import assert_never

from rollout.core.metric import Direction

FIELD_PREFIX = "exact_match_"


class Unit(StrEnum):
    """How a value is to be shown."""

    SHARE = "share"
    SCORE = "score"
    TOKENS = "tokens"
    MILLISECONDS = "ms"
    TOKENS_PER_SECOND = "tokens/s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric. `timed` ones are measured one request at a time and are no mean over the items."""

    id: str
    title: str
    unit: Unit
    direction: Direction
    timed: bool = False

    @property
    def sign(self) -> int:
        """1 where more is better, -1 where less is."""
        return 1 if self.direction is Direction.HIGHER else -1


def _metrics() -> Mapping[str, Metric]:
    high, low = Direction.HIGHER, Direction.LOWER
    rows = (
        ("success", "right answers", Unit.SHARE, high),
        ("exact_match", "exact match, all fields", Unit.SHARE, high),
        ("json_compliance", "valid JSON", Unit.SHARE, high),
        ("json_compliance_unfenced", "valid JSON once unfenced", Unit.SHARE, high),
        ("rouge_l", "ROUGE-L", Unit.SCORE, high),
        ("refusal_rate", "refused what must be", Unit.SHARE, high),
        ("over_refusal_rate", "refused what must not be", Unit.SHARE, low),
        ("empty_rate", "empty answers", Unit.SHARE, low),
        ("truncated_rate", "cut off by the token limit", Unit.SHARE, low),
        ("completion_tokens", "answer length", Unit.TOKENS, low),
    )
    timed = (
        ("latency_p50_ms", "latency P50", Unit.MILLISECONDS, low),
        ("latency_p95_ms", "latency P95", Unit.MILLISECONDS, low),
        ("tokens_per_second", "speed", Unit.TOKENS_PER_SECOND, high),
    )
    known = [Metric(id=i, title=t, unit=u, direction=d) for i, t, u, d in rows]
    known += [Metric(id=i, title=t, unit=u, direction=d, timed=True) for i, t, u, d in timed]
    return MappingProxyType({metric.id: metric for metric in known})


METRICS = _metrics()


def metric(name: str) -> Metric:
    """The metric of this name. Raises KeyError if there is none; `exact_match_<field>` always is one."""
    if name in METRICS:
        return METRICS[name]
    if (of := _field(name)) is None:
        raise KeyError(name)
    return Metric(id=name, title=f"exact match, {of}", unit=Unit.SHARE, direction=Direction.HIGHER)


def is_known(name: str, fields: Collection[str] | None) -> bool:
    """Whether there is such a metric; per-field ones only for `fields`, for any field if that is None."""
    if name in METRICS:
        return True
    of = _field(name)
    return of is not None and (fields is None or of in fields)


def shown(value: float, unit: Unit, *, difference: bool = False) -> str:
    """A value for people, with its unit; differences of shares are points."""
    match unit:
        case Unit.SHARE:
            return f"{100 * value:.1f} points" if difference else f"{100 * value:.1f}%"
        case Unit.SCORE:
            return f"{value:.3f}"
        case Unit.TOKENS:
            return f"{value:.1f} tokens"
        case Unit.MILLISECONDS:
            return f"{value:.3g} ms" if value < 100 else f"{value:,.0f} ms"
        case Unit.TOKENS_PER_SECOND:
            return f"{value:,.0f} tokens/s" if value >= 100 else f"{value:.3g} tokens/s"
        case _:
            assert_never(unit)


def signed(value: float, unit: Unit) -> str:
    """A difference with its sign: `+1.2 points`, and no sign where it rounds to nothing."""
    text = shown(abs(value), unit, difference=True)
    if not any(digit in "123456789" for digit in text):
        return text
    return ("+" if value > 0 else "−") + text


def signed_number(value: float, unit: Unit) -> str:
    """`signed` without the unit's name, for the ends of an interval."""
    return signed(value, unit).split(" ")[0]


def _field(name: str) -> str | None:
    return name.removeprefix(FIELD_PREFIX) if name.startswith(FIELD_PREFIX) and name != FIELD_PREFIX else None
