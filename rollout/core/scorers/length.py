"""How long the answer is: empty, cut off, or so many tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rollout.core.scorers.metric import Unit, less

if TYPE_CHECKING:
    from rollout.core.answer import Answer
    from rollout.core.scorers import Score
    from rollout.core.suite import Golden, Item

METRICS = (
    less("empty_rate", "empty answers"),
    less("truncated_rate", "cut off by the token limit"),
    less("completion_tokens", "answer length", Unit.TOKENS),
)


def prepare(_golden: Golden) -> Score:
    """Scores every item."""
    return score


def score(_item: Item, answer: Answer) -> dict[str, float]:
    """Blank answers are empty ones."""
    return {
        "empty_rate": float(not answer.text.strip()),
        "truncated_rate": float(answer.finish_reason == "length"),
        "completion_tokens": float(answer.completion_tokens),
    }
