"""The statuses of many adapters: what cannot be told of one hides no other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rollout.errors import RolloutError
from rollout.ports import World
from rollout.usecases.mishaps import as_error
from rollout.usecases.status import Status, status


@dataclass(frozen=True, slots=True, kw_only=True)
class Untold:
    """An adapter of which nothing can be told, and why."""

    name: str
    environment: str
    error: RolloutError


Sight = Status | Untold


def overview(world: World, names: Sequence[str] = ()) -> list[Sight]:
    """Those that are named, in that order, or all that the ledger knows.

    Raises what is wrong with one that is looked at alone, and RolloutError where the ledger cannot be asked.
    """
    asked = names or world.ledger.names()
    if len(asked) == 1:
        return [status(world, asked[0])]
    still = replace(world, ledger=world.ledger.still())
    return [_look(still, name) for name in asked]


def _look(world: World, name: str) -> Sight:
    environment = world.environment.name
    try:
        return status(world, name)
    except Exception as error:  # whatever is broken here is that of one adapter
        alone = f"rollout status {name} -e {environment}"
        return Untold(name=name, environment=environment, error=as_error(error, alone=alone))
