"""What a metric is: its name, its unit and its better side."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from rollout.core.metric import Direction


class Unit(StrEnum):
    """How a value is to be shown. A share is a mean over yes (1) and no (0)."""

    SHARE = "share"
    SCORE = "score"
    NATS = "nats"
    TOKENS = "tokens"
    MILLISECONDS = "ms"
    TOKENS_PER_SECOND = "tokens/s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric of an evaluation.

    `timed` ones are measured one request at a time and are no mean over the items. `absolute` ones speak of the
    candidate alone: no other side has a value to compare with, so that only min and max can be asked. A score lies
    between 0 and 1 unless it is `limitless`.
    """

    id: str
    title: str
    unit: Unit
    direction: Direction
    timed: bool = False
    absolute: bool = False
    limitless: bool = False

    @property
    def is_bounded(self) -> bool:
        """Whether every value lies between 0 and 1."""
        return self.unit is Unit.SHARE or (self.unit is Unit.SCORE and not self.limitless)

    @property
    def sign(self) -> int:
        """1 where more is better, -1 where less is."""
        return 1 if self.direction is Direction.HIGHER else -1


def more(id_: str, title: str, unit: Unit = Unit.SHARE, *, timed: bool = False) -> Metric:
    """A metric of which more is better."""
    return Metric(id=id_, title=title, unit=unit, direction=Direction.HIGHER, timed=timed)


def less(
    id_: str,
    title: str,
    unit: Unit = Unit.SHARE,
    *,
    timed: bool = False,
    absolute: bool = False,
    limitless: bool = False,
) -> Metric:
    """A metric of which less is better."""
    return Metric(
        id=id_,
        title=title,
        unit=unit,
        direction=Direction.LOWER,
        timed=timed,
        absolute=absolute,
        limitless=limitless,
    )


def agreement(id_: str, title: str) -> Metric:
    """How near the candidate's answer is to another one, which has no value of its own to compare with."""
    return Metric(id=id_, title=title, unit=Unit.SCORE, direction=Direction.HIGHER, absolute=True)
