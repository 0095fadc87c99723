"""Which cases a reader must see first: what fell, then what is still wrong, then what changed."""

from __future__ import annotations

from enum import StrEnum

from rollout.core.evaluation import Case, EvalReport, Measured, Scores, Side
from rollout.core.gatefile import Gate
from rollout.core.score import Unit
from rollout.core.verdict import Verdict
from rollout.report.evaluation.metrics import known

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
    """By how much right answers rose; of a case without them, the metric that moved most, positive for better."""
    gains = gains_of(case, opponent)
    return gains[SUCCESS] if SUCCESS in gains else max(gains.values(), key=abs, default=0.0)


def gains_of(case: Case, opponent: Side) -> Scores:
    """What the candidate gained in every metric that both sides have; positive is better."""
    ours, theirs = case.scores.get(Side.CANDIDATE, {}), case.scores.get(opponent, {})
    return {name: known(name).sign * (ours[name] - theirs[name]) for name in ours if name in theirs}


def worst_first(measured: Measured) -> list[Case]:
    """All cases, the most urgent first; within one kind, what fell most."""
    order, opponent = list(Change), measured.opponent

    def urgency(case: Case) -> tuple[int, float, float, str]:
        gains = gains_of(case, opponent)
        shares = [value for name, value in gains.items() if _is_bounded(name)]
        return order.index(change(case, opponent)), gain(case, opponent), sum(shares), case.id

    return sorted(measured.cases, key=urgency)


def culprits(report: EvalReport, verdict: Verdict) -> list[Case]:
    """The cases that count against the candidate in one verdict, worst first; none where it is not about cases."""
    measured = report.measured
    kind, _, name = verdict.subject.partition("/")
    if kind == "gate":
        found = [case for case in measured.cases if _breaks(case, name, report.subject.rules.gates.get(name))]
        return sorted(found, key=lambda case: known(name).sign * case.scores[Side.CANDIDATE][name])
    against = Side.BASE if kind == Side.BASE else measured.opponent
    about = SUCCESS if kind == "slice" else name
    within = [case for case in measured.cases if kind != "slice" or name in case.slices]
    fallen = [case for case in within if gains_of(case, against).get(about, 0.0) < 0]
    return sorted(fallen, key=lambda case: gains_of(case, against)[about])


def _breaks(case: Case, name: str, limits: Gate | None) -> bool:
    """Whether the case alone counts against the metric: a no among yes and no, else a value beyond the limit."""
    value = case.scores.get(Side.CANDIDATE, {}).get(name)
    if value is None or limits is None:
        return False
    if known(name).unit is Unit.SHARE:
        return value < 1 if known(name).sign > 0 else value > 0
    low = limits.min is not None and value < limits.min
    return low or (limits.max is not None and value > limits.max)


def _is_bounded(name: str) -> bool:
    return known(name).unit in (Unit.SHARE, Unit.SCORE)


def _texts(case: Case, side: Side) -> tuple[str, ...]:
    return tuple(reply.text for reply in case.replies.get(side, ()))
