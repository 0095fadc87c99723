"""Look at what every replica serves of an adapter's versions, without loading or changing anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rollout.core.lifecycle import Version, fold
from rollout.errors import RolloutError
from rollout.ports import Serving, World
from rollout.usecases.probing import Chat, Probe, chats_of, probe
from rollout.usecases.release import read_manifest, read_policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """One version on one replica. `path` is where the replica says that it is from; None if it is not listed.

    `in_place` says that this is the folder of its digest; `found` is there if it was warmed up and probed.
    """

    replica: str
    slot: str
    served: str
    path: str | None = None
    in_place: bool = False
    found: Probe | None = None
    complaint: str | None = None


def survey(world: World, name: str) -> tuple[Sight, ...]:
    """Every replica's sight of what the ledger says is stable and candidate. Nothing but ledger errors is raised."""
    state = fold(world.ledger.read(name))
    versions = {"stable": state.stable, "candidate": state.candidate}
    return tuple(
        sight
        for slot, version in versions.items()
        if version is not None
        for sight in _of_version(world, slot, version)
    )


def _of_version(world: World, slot: str, version: Version) -> list[Sight]:
    served = version.served_name
    try:
        manifest = read_manifest(world, version).value
        chats = chats_of(read_policy(world, manifest, version.commit).golden)
        folder = str(world.shelf.folder(served))
    except RolloutError as error:
        names = [replica.name for replica in world.replicas]
        return [Sight(replica=name, slot=slot, served=served, complaint=error.message) for name in names]
    return [_look(world, replica, slot, served, folder, chats) for replica in world.replicas]


def _look(
    world: World, replica: Serving, slot: str, served: str, folder: str, chats: Sequence[Chat]
) -> Sight:
    path: str | None = None
    in_place = False
    found: Probe | None = None
    try:
        listed = {model.name: model.root or "" for model in replica.models()}
        path = listed.get(served)
        in_place = path == folder
        if in_place:
            found = probe(replica, world.environment.server.base, served, chats, before=None)
        complaint = _complaint(served, path, folder, found)
    except RolloutError as error:
        complaint = error.message
    return Sight(
        replica=replica.name,
        slot=slot,
        served=served,
        path=path,
        in_place=in_place,
        found=found,
        complaint=complaint,
    )


def _complaint(served: str, path: str | None, folder: str, found: Probe | None) -> str | None:
    if path is None:
        return f"does not list {served}"
    if found is None:
        return f"serves {served} from {path}, not from {folder}"
    return found.complaint(served)
