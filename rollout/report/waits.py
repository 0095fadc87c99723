"""What a release waits for, in sentences: the same in `status`, in its live view and in step summaries."""

from __future__ import annotations

import re
from datetime import timedelta

from rollout.core.decide import deadline_of
from rollout.core.lifecycle import Phase
from rollout.core.waiting import Wait
from rollout.report.spans import span
from rollout.usecases.status import Status

_VERB = re.compile("`" + r"rollout (?:resume|promote|rollback)`")


def to_go_on(status: Status) -> list[str]:
    """What has to happen before it goes on, one sentence each; nothing where nothing is to go on."""
    return [_typed(sentence, status) for sentence in _to_go_on(status)]


def _typed(sentence: str, status: Status) -> str:
    """With what is to be typed as a whole, and not only its verb."""
    typed = f" {status.name} -e {status.environment} --reason TEXT`"
    return _VERB.sub(lambda verb: verb[0][:-1] + typed, sentence)


def _to_go_on(status: Status) -> list[str]:
    state, plan = status.state, status.plan
    if state.unfinished_rollback is not None:
        return ["the next tick goes on with the rollback that is not finished"]
    if state.phase is Phase.PROMOTED and plan is not None and state.entered_at is not None:
        if state.paused is not None or state.lowered is not None:
            return ["somebody runs `rollout resume`"]
        if state.settling:
            return ["every gateway reads the routes in which the new version is stable"]
        left = plan.rollback_window - (status.now - state.entered_at)
        return [f"the rollback window passes: {span(left)} to go" if left > timedelta(0) else "the next tick"]
    if not state.phase.under_way:
        return [told(wait) for wait in status.waits]
    if plan is None:
        return []
    return [told(wait) for wait in status.waits] or [f"the next tick: {_next(status)}"]


def overdue(status: Status) -> str | None:
    """That the deadline has passed, and what the plan does then; None if it has not."""
    plan = status.plan
    if not status.overdue or plan is None:
        return None
    then = (
        "it is taken back"
        if plan.on_inconclusive.value == "roll_back"
        else "it is held, and a person has to look"
    )
    return f"the deadline of {span(deadline_of(plan, status.state))} has passed: {then}"


def told(wait: Wait) -> str:
    """One of them."""
    if wait.time is None:
        return wait.until
    if wait.requests is None:
        return f"{wait.until}: {span(wait.time)} to go"
    return f"{wait.until}, about {span(wait.time)} at the present traffic"


def _next(status: Status) -> str:
    state, plan = status.state, status.plan
    assert plan is not None
    if state.step + 1 < len(plan.steps):
        step = (
            state.step if state.step >= 0 and state.reach.below(plan.reach_at(state.step)) else state.step + 1
        )
        return f"on to {plan.steps[step].place}"
    return "it is promoted"
