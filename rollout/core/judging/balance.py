"""What the evidence of one metric amounts to, whatever its kind is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log

from rollout.core.judging.evidence import FORGOTTEN_AFTER, Evidence, Heaps
from rollout.core.metric import Kind, MetricSpec
from rollout.core.verdict import Interval

_AT_FIRST = 1.5
"""Until stable's bad (or slow) ones show how they come in heaps, one and a half of them are taken to say as much as one."""


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
    units: tuple[Heaps, Heaps] | None = None


def units_of(evidence: Evidence) -> tuple[Heaps, Heaps] | None:
    """What is known of the units of a metric: of a latency's quantiles those of the largest, as heavy tails are."""
    return evidence.quantiles[-1].units if evidence.quantiles else evidence.units


def design_effect(spec: MetricSpec, units: tuple[Heaps, Heaps] | None) -> float:
    """How many requests say as much as one. Logs of evidence are divided by it; 1 where nobody knows of any units.

    Units are dealt to the arms, and not requests: one that fails again in each look says no more than it did in the
    first. Of both arms the larger heaps count: where only one unit fails, it is in one of them.
    """
    if spec.design_effect is not None:
        return spec.design_effect
    if units is None:
        return 1.0
    stable, candidate = units
    return max(stable.size(at_first=_AT_FIRST), candidate.size(at_first=1.0))


def told_of_units(spec: MetricSpec, units: tuple[Heaps, Heaps] | None) -> str:
    """By what evidence was divided, and whether that was measured, assumed or declared; or that nobody knows of units.

    The end of a sentence. Nothing where it was divided by 1 on good grounds.
    """
    effect = design_effect(spec, units)
    if spec.design_effect is None and units is None:
        return "; each request counts by itself, for nothing is known of its user"
    if effect <= 1.05:
        return ""
    if spec.design_effect is not None:
        return f"; {effect:.2g} requests count as one, as declared"
    assert units is not None
    stable, candidate = units
    larger = stable if effect == stable.size(at_first=_AT_FIRST) else candidate
    arm = "stable" if larger is stable else "the candidate"
    bad = "slow ones" if spec.kind is Kind.LATENCY else "bad ones"
    if larger.bad < FORGOTTEN_AFTER:
        why = f"assumed until {FORGOTTEN_AFTER} {bad} of {arm} are seen"
    else:
        why = f"measured on {larger.bad:,} {bad} of {arm}"
    return f"; {effect:.2g} requests count as one, as {why}"


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
