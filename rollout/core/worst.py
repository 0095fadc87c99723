"""Which cases a reader must see first: what fell, then what is still wrong, then what changed."""

from __future__ import annotations

from enum import StrEnum

from rollout.core.evaluation import Case, Measured, Scores, Side
from rollout.core.score import metric

SUCCESS = "success"
_RIGHT = 0.5


class Change(StrEnum):
    """What became of a case against the opponent, most urgent first.

    `lost` and `gained` count as the slices do: right answers fell or rose. `wrong` answers were wrong before as
    well, `changed` ones are right in other words.
    """

    LOST = "lost"
    WRONG = "wrong"
    CHANGED = "changed"
    GAINED = "gained"
    SAME = "same"


def change(case: Case, opponent: Side) -> Change:
    """What became of the case."""
    moved, ours = gain(case, opponent), case.scores.get(Side.CANDIDATE, {})
    if moved < 0:
        return Change.LOST
    if moved > 0:
        return Change.GAINED
    if ours.get(SUCCESS, 1.0) < _RIGHT:
        return Change.WRONG
    return Change.CHANGED if _texts(case, Side.CANDIDATE) != _texts(case, opponent) else Change.SAME


def gain(case: Case, opponent: Side) -> float:
    """By how much right answers rose; of a case without them, the share that moved most, positive for better."""
    gains = gains_of(case, opponent)
    shares = [value for name, value in gains.items() if _is_bounded(name)]
    return gains[SUCCESS] if SUCCESS in gains else max(shares, key=abs, default=0.0)


def gains_of(case: Case, opponent: Side) -> Scores:
    """What the candidate gained in every metric that both sides have; positive is better."""
    ours, theirs = case.scores.get(Side.CANDIDATE, {}), case.scores.get(opponent, {})
    return {name: metric(name).sign * (ours[name] - theirs[name]) for name in ours if name in theirs}


def worst_first(measured: Measured) -> list[Case]:
    """All cases, the most urgent first; within one kind, what fell most."""
    order, opponent = list(Change), measured.opponent

    def urgency(case: Case) -> tuple[int, float, float, str]:
        gains = gains_of(case, opponent)
        shares = [value for name, value in gains.items() if _is_bounded(name)]
        return order.index(change(case, opponent)), gain(case, opponent), sum(shares), case.id

    return sorted(measured.cases, key=urgency)


def _is_bounded(name: str) -> bool:
    return metric(name).is_bounded


def _texts(case: Case, side: Side) -> tuple[str, ...]:
    return tuple(reply.text for reply in case.replies.get(side, ()))
