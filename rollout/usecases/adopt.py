"""Record what serves today as stable: the beginning of an adapter's history in an environment."""

from __future__ import annotations

from dataclasses import dataclass

from rollout.core.lifecycle import Adopted, Phase, Version
from rollout.core.manifest import is_version_of
from rollout.core.plan import Share
from rollout.errors import ServingUnavailable, Unreadable, WorldChanged
from rollout.ports import World
from rollout.usecases.book import Book, Signature
from rollout.usecases.coverage import cover
from rollout.usecases.publish import publish
from rollout.usecases.release import Desire, find_desire, read_policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Adoption:
    """What was recorded; `changed` is False if it was so already."""

    stable: Version
    changed: bool


def adopt(world: World, name: str, *, signature: Signature) -> Adoption:
    """Make the version that git names the stable one, loaded on every replica and proven to have an effect.

    Nothing may be under way. Raises WorldChanged if something is or if the flag gives a share to a candidate,
    ServingUnavailable if a replica lacks the adapter.
    """
    with world.ledger.lease(name):
        book = Book(world.ledger, name, signature)
        if book.state.phase.under_way or book.state.phase is Phase.PROMOTED:
            raise WorldChanged(
                f"a release of {name} is under way (phase {book.state.phase})",
                advice="Finish it, or take it back with"
                f" `rollout rollback {name} -e {world.environment.name} --reason TEXT`.",
            )
        return _adopt(world, book, signature)


def _adopt(world: World, book: Book, signature: Signature) -> Adoption:
    desire = find_desire(world, book.name)
    if desire is None:
        raise Unreadable(f"git has no manifest named {book.name!r} on {world.environment.branch}")
    _require_what_serves(world, book, desire)
    manifest = desire.manifest.value
    policy = read_policy(world, manifest, desire.policy_commit)
    coverage = cover(world, [manifest], prove=manifest, golden=policy.golden)
    if not coverage.complete:
        raise ServingUnavailable(coverage.complaint)
    key = world.environment.flag_key(book.name)
    flag = world.flags.read(key) or world.flags.create(key, by=signature.actor)
    if not flag.reach.is_nobody:
        raise WorldChanged(
            f"the flag {key} gives {flag.reach} to a candidate",
            advice="Set it to 0 % first, without targets.",
        )
    changed = book.state.stable is None or book.state.stable.identity != desire.version.identity
    if changed:
        book.add(Adopted, world.clock.now(), stable=desire.version)
    publish(world, book, mirror=Share.ZERO, response_schema=policy.golden.response_schema)
    return Adoption(stable=desire.version, changed=changed)


def _require_what_serves(world: World, book: Book, desire: Desire) -> None:
    """Where the ledger was lost git may ask for a version that was still being proven: that is not what serves."""
    route = world.routes.read().routes.get(book.name)
    if book.state.began or route is None or not is_version_of(route.stable, book.name):
        return
    if route.stable != desire.version.served_name:
        raise WorldChanged(
            f"{route.stable} is what serves, and git asks for {desire.version.served_name}",
            advice=f"Restore the ledger, or bring the manifest of {route.stable} back before it is adopted.",
        )
