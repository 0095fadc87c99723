"""What a person asks of a release: to wait, to go everywhere now, or to begin once more. The next tick does it.

Nobody waits for a tick that runs meanwhile: what it announces behind these words is refused by the ledger.
"""

from __future__ import annotations

from rollout.core.lifecycle import (
    Hastened,
    Paused,
    Phase,
    Rejected,
    Retried,
    RolloutState,
    Version,
)
from rollout.errors import RolloutError, Usage
from rollout.ports import World
from rollout.usecases.book import Signature, say
from rollout.usecases.release import find_desire


def pause(world: World, name: str, *, reason: str, signature: Signature) -> RolloutState:
    """Let the release go no further until it is resumed. Raises Usage if none is under way, or it is paused already."""

    def choose(state: RolloutState) -> tuple[type[Paused], dict[str, object]]:
        if state.paused is not None:
            raise Usage(f"{state.paused.actor} has paused {name} already: {state.paused.reason}")
        if not state.phase.under_way and (state.phase is not Phase.PROMOTED or state.settling):
            raise _nothing_under_way(name)
        return Paused, {"reason": reason}

    return say(world, name, signature, choose)


def hasten(world: World, name: str, *, reason: str, signature: Signature) -> RolloutState:
    """Let the candidate go to everybody with the next tick, and at 100 % be promoted without waiting.

    Nothing is proven then; shown harm still takes it back. Where none is under way, what git asks for begins with the
    next tick if it is evaluated and allowed, even if no server can load what is stable. Raises Usage if git asks for
    nothing new, or somebody else has turned the flag down.
    """
    desired = _desired(world, name)

    def choose(state: RolloutState) -> tuple[type[Hastened], dict[str, object]]:
        if not state.phase.under_way:
            _check_may_begin(name, state, desired)
        if state.hastened is not None and not _is_about_another(state, desired):
            raise Usage(
                f"{state.hastened.actor} has asked for {name} everywhere already: the next tick does it"
            )
        if state.lowered is not None:
            raise Usage(f"{state.lowered.reason}", advice="Resume the release first, or take it back.")
        identity = desired.identity if desired is not None and not state.phase.under_way else None
        return Hastened, {"reason": reason, "identity": identity}

    return say(world, name, signature, choose)


def _desired(world: World, name: str) -> Version | None:
    """What git asks for; a release that is under way is hastened even where git cannot be read."""
    try:
        desire = find_desire(world, name)
    except RolloutError:
        return None
    return desire.version if desire is not None else None


def _check_may_begin(name: str, state: RolloutState, desired: Version | None) -> None:
    if state.phase is Phase.PROMOTED or desired is None or not state.began:
        raise _nothing_under_way(name)
    if state.stable is not None and desired.identity == state.stable.identity:
        raise _nothing_under_way(name)
    if state.is_quarantined(desired.identity):
        raise Usage(
            f"{desired.served_name} was taken back here",
            advice=f"`rollout quarantine lift {name} -e ENV --reason TEXT`, by two people, lets it begin once more.",
        )


def _is_about_another(state: RolloutState, desired: Version | None) -> bool:
    """Whether the last such word was about bytes that git does not ask for any more."""
    assert state.hastened is not None
    about = state.hastened.identity
    return not state.phase.under_way and desired is not None and about != desired.identity


def retry(
    world: World, name: str, *, reason: str, signature: Signature, version: str | None = None
) -> Rejected:
    """Let bytes begin that were rejected, of `version` if one is named; the answer is what had been said of them. Git has
    to ask for them. Raises Usage if there are none; what was taken back needs two people (`quarantine.lift`)."""
    found: list[Rejected] = []

    def choose(state: RolloutState) -> tuple[type[Retried], dict[str, object]]:
        past = state.rejected
        if past is None or version not in (None, past.rejected.version):
            raise _nothing_rejected(state, name, version, world.environment.name)
        if state.is_quarantined(past.rejected.identity):
            raise _taken_back(past.rejected.served_name, name, world.environment.name)
        found[:] = [past]
        return Retried, {"identity": past.rejected.identity, "reason": reason}

    say(world, name, signature, choose)
    return found[0]


def _nothing_rejected(state: RolloutState, name: str, version: str | None, environment: str) -> Usage:
    what = f"version {version} of {name}" if version else name
    if any(version in (None, each.version) for each in state.quarantined):
        return _taken_back(what, name, environment)
    return Usage(
        f"nothing of {what} was rejected here",
        advice=f"`rollout history {name} -e {environment}` shows what was.",
    )


def _taken_back(what: str, name: str, environment: str) -> Usage:
    return Usage(
        f"{what} was taken back here: one person alone cannot let it begin",
        advice=f"`rollout quarantine lift {name} -e {environment} --reason TEXT`, by two people, lets it begin once"
        " more.",
    )


def _nothing_under_way(name: str) -> Usage:
    return Usage(
        f"no release of {name} is under way", advice=f"`rollout status {name} -e ENV` says what is live."
    )
