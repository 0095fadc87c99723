"""Let a release go on that waits for a person."""

from __future__ import annotations

from rollout.core.lifecycle import Cleared, Phase, Resumed, RolloutState
from rollout.core.plan import Plan
from rollout.errors import Usage
from rollout.ports import World
from rollout.usecases.book import Book, Signature
from rollout.usecases.release import read_manifest, read_policy


def resume(world: World, name: str, *, reason: str, signature: Signature) -> RolloutState:
    """Record that the release goes on; the answer is the state.

    One that was paused goes on as if it had not been. Where the plan pauses, the person whom it names clears the step.
    Otherwise the step begins anew, its time and who was served in it: one that was turned down goes up again to the
    step it was at with the next tick, and one whose last look could not be taken is judged from what is there now on.
    Raises Usage if nothing waits, or for somebody else; Busy while a tick runs.
    """
    with world.ledger.lease(name):
        book = Book(world.ledger, name, signature)
        state, now = book.state, world.clock.now()
        if (step := _pausing(world, state)) is not None:
            _require_the_right_one(step, signature)
            book.add(Cleared, now, step=state.step, reason=reason)
            return book.state
        waits = state.lowered is not None or state.paused is not None
        if not waits and (state.phase is not Phase.CANARY or state.step < 0):
            raise Usage(
                f"no step of {name} is under way, and nobody paused it or turned its flag down:"
                " there is nothing to resume",
                advice=f"`rollout status {name} -e {world.environment.name}` says what the release waits for.",
            )
        edge = None if state.paused is not None and state.lowered is None else world.metrics.edge()
        book.add(Resumed, now, reason=reason, edge=edge)
        return book.state


def _pausing(world: World, state: RolloutState) -> str | None:
    """Whom the plan names for the present step, if it is not cleared yet and nothing else waits."""
    waits = state.lowered is not None or state.paused is not None
    if waits or state.phase is not Phase.CANARY or state.step <= state.cleared:
        return None
    plan = _plan(world, state)
    return plan.steps[state.step].pause


def _plan(world: World, state: RolloutState) -> Plan:
    assert state.candidate is not None
    assert state.started is not None
    manifest = read_manifest(world, state.candidate).value
    return read_policy(world, manifest, state.started.policy_commit).plan


def _require_the_right_one(person: str, signature: Signature) -> None:
    if signature.actor.casefold().lstrip("@") != person.casefold().lstrip("@"):
        raise Usage(
            f"the plan pauses here for {person}, and you are {signature.actor}",
            advice=f"{person} runs the command, or `rollout rollback NAME -e {signature.environment} --reason TEXT`"
            " takes the release back.",
        )
