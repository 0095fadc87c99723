"""What a scorer of the panel answers when what it needs is not there: no values, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from rollout.errors import RolloutError
from rollout.ports import AnsweredItem, PanelScores

Progress = Callable[[str, int, int], None]
Values = Mapping[str, Mapping[str, Mapping[str, float]]]


def nothing(reason: str) -> PanelScores:
    """No value at all, which no gate takes for a pass."""
    return PanelScores(values={}, notes={"absent": reason})


def unless_absent(extra: str, score: Callable[[], PanelScores]) -> PanelScores:
    """What `score` gives; nothing, with the reason, if a package of `extra` or what the suite names is missing."""
    try:
        return score()
    except ImportError as error:
        return nothing(
            f"{error.name or 'a package'} is not installed: pip install 'adapter-rollout[{extra}]'"
        )
    except RolloutError as error:
        return nothing(f"{error.message} {error.advice}".strip())


def answers_of(items: Sequence[AnsweredItem]) -> list[tuple[str, str, str]]:
    """(item, side, answer) for every answer there is, in order."""
    return [(item.id, side, answer) for item in items for side, answer in sorted(item.answers.items())]
