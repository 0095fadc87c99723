"""Give the servers' memory back: unload versions that no route names any more, once none of their answers is under way."""

from __future__ import annotations

from collections.abc import Callable, Collection

from rollout.core.lifecycle import Version
from rollout.core.manifest import is_version_of
from rollout.errors import Unavailable
from rollout.ports import World


def sweep(world: World, name: str, *, kept: Version | None) -> None:
    """Unload every version of an adapter but the one that is kept. Raises Unavailable if a server does not answer."""
    _unload(
        world,
        lambda served: is_version_of(served, name) and (kept is None or served != kept.served_name),
    )


def unload(world: World, versions: Collection[str]) -> tuple[str, ...]:
    """Unload these served names; the answer says who has one still, and why. One server's silence spares no other."""
    return _unload(world, lambda served: served in versions, going_on=True)


def _unload(world: World, unwanted: Callable[[str], bool], *, going_on: bool = False) -> tuple[str, ...]:
    answering = {
        served for gateway in world.gateways for served, count in gateway.status().in_flight.items() if count
    }
    left = []
    for replica in world.replicas:
        try:
            for served in filter(unwanted, [model.name for model in replica.models()]):
                if served in answering:
                    left.append(f"{replica.name} has answers of {served} under way")
                else:
                    replica.unload(served)
        except Unavailable as error:
            if not going_on:
                raise
            left.append(error.message)
    return tuple(left)
