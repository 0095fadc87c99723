"""How like each other scores of one unit are, made of what single units had in a look and before it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import fsum

from rollout.core.metric import Alike, Moments

NOTHING = (0, 0.0)
"""(scores, their sum) of a unit that had none before."""


def alike(units: Mapping[str, Moments], before: Mapping[str, tuple[int, float]] | None = None) -> Alike:
    """Of all units' scores (or differences of pairs) in a look, and (scores, their sum) that some had `before`.

    With `before`, the units that it names are an estimate for all: what they show counts for as many scores as there are.
    """
    asked = [(units[unit], past) for unit, past in sorted(before.items())] if before is not None else None
    if asked is None:
        asked = [(own, NOTHING) for _, own in sorted(units.items())]
    known = sum_of(units.values())
    shown = sum(own.number for own, _ in asked)
    times = known.number / shown if shown else 0.0
    others = sum(own.number * (own.number - 1 + 2 * number) for own, (number, _) in asked)
    firsts = fsum((own.number - 1 + number) * own.sum + own.number * total for own, (number, total) in asked)
    products = fsum(own.sum * own.sum - own.squares + 2 * own.sum * total for own, (_, total) in asked)
    return Alike(
        number=known.number,
        sum=known.sum,
        squares=known.squares,
        others=round(others * times),
        firsts=firsts * times,
        products=products * times,
    )


def moments_by_unit(scores: Iterable[tuple[str | None, float]]) -> dict[str, Moments]:
    """Of those whose unit is known."""
    found: dict[str, list[float]] = {}
    for unit, score in scores:
        if unit is not None:
            found.setdefault(unit, []).append(score)
    return {unit: moments(values) for unit, values in found.items()}


def moments(values: Sequence[float]) -> Moments:
    """How many there are, their sum and that of their squares."""
    return Moments(number=len(values), sum=fsum(values), squares=fsum(each * each for each in values))


def sum_of(units: Iterable[Moments]) -> Moments:
    """Of all of them together."""
    known = list(units)
    return Moments(
        number=sum(each.number for each in known),
        sum=fsum(each.sum for each in known),
        squares=fsum(each.squares for each in known),
    )
