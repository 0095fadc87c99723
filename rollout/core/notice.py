"""What people are told: that a version was taken back or promoted, or that a release waits for them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from rollout.core.lifecycle import Phase, RolledBack, RolloutState
from rollout.core.occasion import Occasion
from rollout.core.unrecorded import Unrecorded

_OLD_NEWS = timedelta(days=1)
"""What happened longer ago is told to nobody: whoever is named today does not hear of last month."""


RUNBOOKS = {
    Occasion.TAKEN_BACK: "rolled-back",
    Occasion.HALTED: "halted",
    Occasion.OVERDUE: "canary-stuck",
}
"""The page for whoever is woken by it; a promotion wakes nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One thing that is told. `id` is the same for the same thing, whoever tells it and however often."""

    id: str
    occasion: Occasion
    name: str
    environment: str
    at: datetime
    actor: str
    headline: str
    reason: str
    bad: str | None = None
    serving: str | None = None
    incident: str | None = None
    run_url: str | None = None

    @property
    def runbook(self) -> str | None:
        """The code of the page that says what to do."""
        return RUNBOOKS.get(self.occasion)


def notice_of_state(state: RolloutState, *, name: str, environment: str, now: datetime) -> Notice | None:
    """What the state itself has to tell: a rollback, or a promotion, of not long ago."""
    event = state.rolled_back
    if state.phase is Phase.TAKEN_BACK and event is not None and event.bad is not None:
        return _of_rollback(state, event) if now - event.at <= _OLD_NEWS else None
    began, candidate = state.entered_at, state.candidate
    if state.phase is Phase.PROMOTED and began is not None and candidate is not None and not state.settling:
        if now - began > _OLD_NEWS or state.lowered is not None:
            return None
        return Notice(
            id=notice_id(state, Occasion.PROMOTED, name=name, environment=environment),
            occasion=Occasion.PROMOTED,
            name=name,
            environment=environment,
            at=began,
            actor="the plan",
            headline=f"{candidate.served_name} is promoted in {environment}: everybody has it",
            reason="every step of its plan is passed",
            serving=candidate.served_name,
        )
    return None


def notice_of_unrecorded(told: Unrecorded) -> Notice:
    """A rollback that the ledger does not know of yet; it is told once more when it does, with what it was."""
    return Notice(
        id=f"{told.environment}/{told.name}/{told.at.isoformat()}/{Occasion.TAKEN_BACK}",
        occasion=Occasion.TAKEN_BACK,
        name=told.name,
        environment=told.environment,
        at=told.at,
        actor=told.actor,
        headline=f"{told.name} was taken back in {told.environment} by {told.actor}; the ledger does not know of it yet",
        reason=told.reason,
        incident=told.incident,
    )


def notice_id(state: RolloutState, occasion: Occasion, *, name: str, environment: str) -> str:
    """The same for the same state of the same release."""
    where = f".{state.step}" if occasion in (Occasion.HALTED, Occasion.OVERDUE) else ""
    return f"{environment}/{name}/{state.generation}{where}/{occasion}"


def _of_rollback(state: RolloutState, event: RolledBack) -> Notice:
    assert event.bad is not None
    serving = state.stable.served_name if state.stable else "the base model"
    who = "the judge" if event.automatic else event.actor
    return Notice(
        id=notice_id(state, Occasion.TAKEN_BACK, name=event.name, environment=event.environment),
        occasion=Occasion.TAKEN_BACK,
        name=event.name,
        environment=event.environment,
        at=event.at,
        actor=event.actor,
        headline=f"{event.bad.served_name} was taken back in {event.environment} by {who}; {serving} serves everybody",
        reason=event.reason,
        bad=event.bad.served_name,
        serving=serving,
        incident=event.incident,
        run_url=event.run_url,
    )
