"""What the evidence of one metric amounts to, whatever its kind is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, log
from typing import Final, Protocol, TypeAlias

from rollout.core.judging.evidence import Evidence
from rollout.core.metric import Kind, MetricSpec
from rollout.core.verdict import Interval

_AT_FIRST = 1.5
"""Until stable's bad (or slow) ones show how they come in heaps, one and a half of them are taken to say as much as one."""


_ONE: Final[Mapping[Kind, str]] = {Kind.RATE: "request", Kind.LATENCY: "request", Kind.SCORE: "score"}
_SEEN: Final[Mapping[Kind, str]] = {Kind.RATE: "bad ones", Kind.LATENCY: "slow ones", Kind.SCORE: "users"}


class Heaped(Protocol):
    """What is known of how an arm's evidence comes in heaps of units."""

    @property
    def fewest(self) -> int:
        """How much must be seen before it is measured."""

    @property
    def seen(self) -> int:
        """How much was seen."""

    def size(self, *, at_first: float) -> float:
        """How many requests say as much as one, 1 or more; `at_first` is what is assumed."""


Units: TypeAlias = tuple[Heaped, ...] | None
"""Of stable and of the candidate, or of pairs; None, or nothing, where nobody knows of any units."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """`harm` and `proof` are logs of e-values, against "no worse than tolerated" and "worse than accepted".

    `told` says what was seen, `claim` what is to be proven, `effect` and `interval` are in the metric's own unit.
    `units` are those by which the evidence was divided.
    """

    harm: float
    proof: float
    told: str
    claim: str
    effect: float | None = None
    interval: Interval | None = None
    units: Units = None


def units_of(evidence: Evidence) -> Units:
    """What is known of the units of a metric: of a latency's quantiles those of the largest, as heavy tails are."""
    return evidence.quantiles[-1].units if evidence.quantiles else evidence.units


def design_effect(spec: MetricSpec, units: Units) -> float:
    """How many requests say as much as one. Logs of evidence are divided by it; 1 where nobody knows of any units.

    Units are dealt to the arms, and not requests: one that fails again in each look says no more than it did in the
    first. Of both arms the larger heaps count: where only one unit fails, it is in one of them.
    """
    if spec.design_effect is not None:
        return spec.design_effect
    return max((each.size(at_first=at_first) for each, at_first in _at_first(spec, units)), default=1.0)


def told_of_units(spec: MetricSpec, units: Units) -> str:
    """By what evidence was divided, and whether that was measured, assumed or declared; or that nobody knows of units.

    The end of a sentence. Nothing where it was divided by 1 on good grounds.
    """
    effect = design_effect(spec, units)
    if spec.design_effect is None and not units:
        return f"; each {_ONE[spec.kind]} counts by itself, for nothing is known of its user"
    if effect <= 1.05:
        return ""
    if spec.design_effect is not None:
        return f"; {effect:.2g} {_ONE[spec.kind]}s count as one, as declared"
    assert units
    larger, whose = next(
        (each, whose)
        for (each, at_first), whose in zip(_at_first(spec, units), _whose(units), strict=True)
        if each.size(at_first=at_first) == effect
    )
    if larger.seen < larger.fewest and effect <= _AT_FIRST:
        why = f"assumed until {larger.fewest} {_SEEN[spec.kind]}{whose} are seen"
    else:
        why = f"measured on {larger.seen:,} {_SEEN[spec.kind]}{whose}"
    return f"; {effect:.2g} {_ONE[spec.kind]}s count as one, as {why}"


def _at_first(spec: MetricSpec, units: Units) -> Sequence[tuple[Heaped, float]]:
    """With what is assumed of each: of what is bad in the candidate nothing, which may be never; scores come to both."""
    both = spec.kind is Kind.SCORE
    return [(each, 1.0 if place and not both else _AT_FIRST) for place, each in enumerate(units or ())]


def _whose(units: tuple[Heaped, ...]) -> Sequence[str]:
    return (" of stable", " of the candidate") if len(units) > 1 else ("",)


def percent(share: float) -> str:
    """A share as people read it, with a digit more where it is small."""
    return f"{share:.1%}" if share == 0 or abs(share) >= 0.00995 else f"{share:.2%}"


def projected(log_e: float, *, needed: float, seen: int, alternatives: Sequence[float]) -> int | None:
    """After how many requests in all the evidence will do, if it goes on to grow as it did; None if it does not grow.

    A mixture pays for its alternatives once, before it grows. Exactly none is what nothing was learned from.
    """
    price = log(len(alternatives))
    if log_e == 0 or log_e + price <= 0 or not seen:
        return None
    return round(min(seen * (needed + price) / (log_e + price), 1e12))


def as_e_value(log_e: float) -> float:
    """The e-value itself, as large as a number can be."""
    return exp(min(log_e, 700.0))
