"""Can a suite detect the margins of its gates at all? Asked before a GPU is."""

from __future__ import annotations

from rollout.core.answer import Answer
from rollout.core.comparison import comparisons, fewest_pairs
from rollout.core.evaluation import Rules, Side
from rollout.core.score import metric, shown
from rollout.core.scorers import Scorers
from rollout.core.suite import Golden
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
    if weak:
        raise Unreadable(
            f"suite {golden.suite.name} is too small for gates {golden.suite.gates}: {'; '.join(weak)}",
            advice="Add items, or accept a larger loss in `vs_champion.max_loss`.",
        )


def applicable(golden: Golden) -> dict[str, int]:
    """How many items each metric applies to: what their references are scored on."""
    scorers, counts = Scorers(golden), dict[str, int]()
    for item in golden.items:
        given = Answer(text=item.reference, prompt_tokens=0, completion_tokens=1, finish_reason="stop")
        for name in scorers.score(item, given):
            counts[name] = counts.get(name, 0) + 1
    return counts
