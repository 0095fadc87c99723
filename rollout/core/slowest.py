"""From which time on an answer of a look is among the slowest: by it is told how those of one user come in heaps.

An estimate, and no verdict's evidence: the ratio that a question allows is not divided by, and equal times are marked
together. Evidence is divided by what it shows (see `Heaps.size`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, isfinite

from rollout.core.marks import length_class
from rollout.core.metric import MetricSpec
from rollout.core.seen import Timed, commonest_length

_CLOSE = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Slowest:
    """`from_ms` by quantile and length; all answers are of one length unless the metric tells lengths apart.

    `commonest` is the length among which time-outs count, whose own nobody knows.
    """

    by_length: bool
    commonest: str
    from_ms: Mapping[float, Mapping[str, float]]

    def length(self, milliseconds: float, tokens: int | None) -> str:
        """Among which answers one counts."""
        if not self.by_length:
            return ""
        return length_class(tokens) if isfinite(milliseconds) else self.commonest

    def has(self, quantile: float, milliseconds: float, tokens: int | None) -> bool:
        """Whether an answer is among the slowest; those of a length that the look has none of are not."""
        mark = self.from_ms[quantile].get(self.length(milliseconds, tokens))
        return mark is not None and milliseconds >= mark


def slowest(spec: MetricSpec, answers: Sequence[Timed]) -> Slowest:
    """Of the answers of both arms together."""
    commonest = commonest_length(answers) if spec.by_length else ""
    lengths: dict[str, list[float]] = {}
    found = Slowest(by_length=spec.by_length, commonest=commonest, from_ms={})
    for each, tokens in answers:
        lengths.setdefault(found.length(each, tokens), []).append(each)
    for times in lengths.values():
        times.sort(reverse=True)
    from_ms = {
        quantile: {
            length: times[max(1, ceil((1 - quantile) * len(times) - _CLOSE)) - 1]
            for length, times in lengths.items()
        }
        for quantile in spec.quantiles
    }
    return Slowest(by_length=spec.by_length, commonest=commonest, from_ms=from_ms)
