"""The scorers: one file each, pure, registered here once.

A scorer's file has METRICS, the table of what it measures, and `prepare`, which makes a function of the suite that
scores one answer. It gives only the metrics that apply to the item, each as a number: 1 or 0 for yes and no, else
in the metric's own unit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, assert_never

from rollout.core.expectation import Expect
from rollout.core.scorers import (
    assertions,
    compliance,
    exactmatch,
    length,
    personaldata,
    refusal,
    repetition,
    rouge,
)
from rollout.core.scorers.metric import Metric, more
from rollout.core.scorers.refusal import read_refusal as read_refusal

if TYPE_CHECKING:
    from rollout.core.answer import Answer
    from rollout.core.suite import Golden, Item

Score = Callable[["Item", "Answer"], dict[str, float]]
"""Scores one answer to one item."""
Prepare = Callable[["Golden"], Score]
"""Makes ready for one suite. Raises Unreadable if the suite asks for what cannot be."""

SUCCESS = more("success", "right answers")

SCORERS: Mapping[str, tuple[tuple[Metric, ...], Prepare]] = MappingProxyType(
    {
        "exactmatch": (exactmatch.METRICS, exactmatch.prepare),
        "compliance": (compliance.METRICS, compliance.prepare),
        "assertions": (assertions.METRICS, assertions.prepare),
        "rouge": (rouge.METRICS, rouge.prepare),
        "refusal": (refusal.METRICS, refusal.prepare),
        "length": (length.METRICS, length.prepare),
        "repetition": (repetition.METRICS, repetition.prepare),
        "personaldata": (personaldata.METRICS, personaldata.prepare),
    }
)
"""By file name: what it measures, and how it is made ready."""


class Scorers:
    """All scorers, made ready for one suite."""

    def __init__(self, golden: Golden) -> None:
        """Raises Unreadable if a schema of the suite is not valid."""
        self._scores = tuple(prepare(golden) for _, prepare in SCORERS.values())

    def score(self, item: Item, answer: Answer) -> dict[str, float]:
        """The metrics that apply to this item, with `success`, the one that says whether it is right."""
        values = {name: value for score in self._scores for name, value in score(item, answer).items()}
        return values | {SUCCESS.id: values[_decisive(item.expect)]}


def _decisive(expect: Expect) -> str:
    match expect:
        case Expect.JSON:
            return "exact_match"
        case Expect.REFUSAL:
            return "refusal_rate"
        case Expect.TEXT:
            return "rouge_l"
        case Expect.ASSERT:
            return "assertion_rate"
        case _:
            assert_never(expect)
