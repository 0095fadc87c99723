"""`quarantine`: what was taken back stays out until two people want it to begin once more."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from rollout.core.approval import are_two, is_somebody
from rollout.core.lifecycle import LiftAsked, Retried, RolledBack, RolloutState, Version
from rollout.errors import Usage
from rollout.ports import World
from rollout.usecases.book import Signature, say

STANDS = timedelta(days=7)
"""How long it counts that somebody asked."""
_SHORTEST = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """Bytes that may not begin under any version, why, and who has asked for them since."""

    version: Version
    event: RolledBack
    asked: LiftAsked | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lift:
    """What came of a wish to lift: `done`, or it waits for a second person. `subject` is as it was before."""

    subject: Quarantined
    done: bool


def quarantined(state: RolloutState) -> tuple[Quarantined, ...]:
    """All of an adapter, the latest first."""
    return tuple(
        Quarantined(version=each, event=state.quarantine[each.identity], asked=state.lifts.get(each.identity))
        for each in state.quarantined
    )


def lift(
    world: World,
    name: str,
    *,
    reason: str,
    signature: Signature,
    version: str | None = None,
    digest: str | None = None,
) -> Lift:
    """Ask that bytes may begin once more, or second who asked for it within STANDS.

    `version` or the beginning of a `digest` says which; neither is needed where there is only one. Whoever asks twice
    has asked once, and whoever lifts twice has lifted once. Raises Usage where none is meant, or several, and for who is
    no person.
    """
    if not is_somebody(signature.actor):
        raise Usage(
            f"{signature.actor!r} is nobody who could answer for it: two people have to want it",
            advice="Run it yourself, or name with --actor who wants it.",
        )
    found: list[Lift] = []

    def choose(state: RolloutState) -> tuple[type[LiftAsked | Retried], dict[str, object]] | None:
        known = quarantined(state)
        if not _meant(known, version, digest) and (
            before := _lifted(world, name, signature, version, digest)
        ):
            found[:] = [Lift(subject=before, done=True)]
            return None
        subject = _chosen(known, name, world.environment.name, version, digest)
        fields: dict[str, object] = {"identity": subject.version.identity, "reason": reason}
        asked = subject.asked
        if asked is not None and world.clock.now() - asked.at > STANDS:
            asked = None
        found[:] = [Lift(subject=subject, done=asked is not None and are_two(asked.actor, signature.actor))]
        if asked is None:
            return LiftAsked, fields
        return (Retried, fields | {"asked_by": asked.actor}) if found[0].done else None

    say(world, name, signature, choose)
    return found[0]


def _lifted(
    world: World, name: str, signature: Signature, version: str | None, digest: str | None
) -> Quarantined | None:
    """What the same person lifted last, where that is meant: whoever died behind the ledger's word runs it again."""
    entries = world.ledger.read(name)
    event = next((each.event for each in reversed(entries) if isinstance(each.event, Retried)), None)
    if event is None or event.asked_by is None or are_two(event.actor, signature.actor):
        return None
    past = (each.event for each in reversed(entries) if isinstance(each.event, RolledBack))
    known = tuple(
        Quarantined(version=version, event=each)
        for each in past
        for version in each.taken_back
        if version.identity == event.identity
    )
    return next(iter(_meant(known, version, digest)), None)


def _meant(
    known: tuple[Quarantined, ...], version: str | None, digest: str | None
) -> tuple[Quarantined, ...]:
    return tuple(
        each
        for each in known
        if version in (None, each.version.version)
        and (digest is None or each.version.identity.startswith(digest.removeprefix("sha256:")))
    )


def _chosen(
    known: tuple[Quarantined, ...], name: str, environment: str, version: str | None, digest: str | None
) -> Quarantined:
    if digest is not None and len(digest.removeprefix("sha256:")) < _SHORTEST:
        raise Usage(f"{digest!r} is too short to name bytes: at least {_SHORTEST} characters")
    meant = _meant(known, version, digest)
    if len(meant) == 1:
        return meant[0]
    there = ", ".join(f"{each.version.version} ({each.version.identity[:12]})" for each in meant or known)
    if meant:
        raise Usage(
            f"several of {name} were taken back", advice=f"Choose with --version or --digest: {there}."
        )
    if known:
        raise Usage(f"that was not taken back in {environment}", advice=f"What was: {there}.")
    raise Usage(f"nothing of {name} is quarantined in {environment}")
