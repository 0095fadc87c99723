"""Can a suite detect the margins of its gates at all? Asked before a GPU is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from rollout.core.answer import Answer
from rollout.core.comparison import comparisons, fewest_pairs
from rollout.core.evaluation import Rules, Side
from rollout.core.score import metric, shown
from rollout.core.scorers import Scorers
from rollout.core.slices import fewest_in_slice
from rollout.core.suite import Golden, Item
from rollout.errors import Unreadable


def require_power(golden: Golden, *, first_release: bool = False) -> None:
    """Raise Unreadable if a margin is smaller than its suite can detect, with the number of items that it needs."""
    rules = Rules(**{name: getattr(golden.gates, name) for name in Rules.model_fields})
    counts = applicable(golden)
    weak = []
    for one in comparisons(rules, Side.BASE if first_release else Side.CHAMPION):
        fewest = fewest_pairs(one.metric, one.margin, rules.confidence)
        # What outside scorers or tasks count is known when they were asked.
        if one.required and one.metric in counts and counts[one.metric] < fewest:
            margin = shown(one.margin.max_loss, metric(one.metric).unit, difference=True)
            weak.append(f"{one.subject} has {counts[one.metric]} items, a margin of {margin} needs {fewest}")
    weak += [
        f"slices/{need.metric} has {need.items} items in {need.slice}, a loss of {need.allowed} needs {need.fewest}"
        for need in slice_needs(golden)
        if need.required and need.items < need.fewest
    ]
    if weak:
        raise Unreadable(
            f"suite {golden.suite.name} is too small for gates {golden.suite.gates}: {'; '.join(weak)}",
            advice="Add items, or accept a larger loss in `max_loss`.",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceNeed:
    """A loss that a gate limits in every slice: what it takes to show it, and the smallest slice of all."""

    metric: str
    allowed: str
    slice: str
    items: int
    fewest: int
    required: bool


def slice_needs(golden: Golden) -> Iterator[SliceNeed]:
    """What the gates' losses in slices need, by metric. What no item has, or is known only when asked, is left out."""
    gates = golden.gates
    asked = {name: of for name, of in sorted(gates.gates.items()) if of.slices and of.slices.max_loss}
    counts = _by_slice(golden) if asked else {}
    for name, gate in asked.items():
        if gate.slices is None or gate.slices.max_loss is None or name not in counts:
            continue
        smallest, items = min(counts[name].items(), key=lambda one: (one[1], one[0]))
        yield SliceNeed(
            metric=name,
            allowed=shown(gate.slices.max_loss, metric(name).unit, difference=True),
            slice=smallest,
            items=items,
            fewest=fewest_in_slice(name, gate.slices, gates.confidence),
            required=gate.required,
        )


def applicable(golden: Golden) -> dict[str, int]:
    """How many items each metric applies to: what their references are scored on."""
    return dict(Counter(name for _, names in _applying(golden) for name in names))


def _by_slice(golden: Golden) -> dict[str, Counter[str]]:
    counts: dict[str, Counter[str]] = {}
    for item, names in _applying(golden):
        for name in names:
            counts.setdefault(name, Counter()).update({item.slice, *item.tags})
    return counts


def _applying(golden: Golden) -> Iterator[tuple[Item, Collection[str]]]:
    scorers = Scorers(golden)
    for item in golden.items:
        given = Answer(text=item.reference, prompt_tokens=0, completion_tokens=1, finish_reason="stop")
        yield item, scorers.score(item, given)
