"""One tick for every adapter of an environment.

Most adapters of a fleet are at rest. Whether one is, is seen in one picture of everything that is taken once, so that
a tick over a thousand of them asks git, the routes and every server once, and not a thousand times.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from rollout.core.lifecycle import Phase, RolloutState
from rollout.core.manifest import adapter_of
from rollout.core.plan import Share
from rollout.core.routes import Routes, route_of
from rollout.errors import RolloutError, Unreadable
from rollout.ports import Serving, Tree, World
from rollout.usecases.advance import advance
from rollout.usecases.begin import Gatekeeper
from rollout.usecases.book import Signature
from rollout.usecases.mishaps import as_error
from rollout.usecases.steady import names_of, steady
from rollout.usecases.tick import Move, Tick

_Models = Mapping[str | None, Sequence[tuple[str, str | None]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How the tick of one adapter ended: what it did, or why it could not be done."""

    name: str
    tick: Tick | None = None
    error: RolloutError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """The adapters of an environment, in the order of their ticks, and those of them that are at rest."""

    world: World
    names: Sequence[str]
    at_rest: Mapping[str, RolloutState]

    def only(self, names: Sequence[str]) -> Fleet:
        """Those that are named; all of them if none is. Raises Unreadable for a name that nothing knows."""
        if unknown := [name for name in names if name not in self.names]:
            raise Unreadable(
                f"neither the manifests nor the ledger know {', '.join(unknown)}",
                advice=f"They know: {', '.join(sorted(self.names)) or 'none'}.",
            )
        return replace(self, names=[name for name in self.names if name in names]) if names else self


@dataclass(frozen=True, slots=True, kw_only=True)
class _Picture:
    """Everything that tells whether adapters are at rest, each asked once.

    `models` are those of each server, (served name, folder) by adapter; a server that is silent has none.
    """

    manifests: Mapping[str, Sequence[PurePosixPath]]
    tree: Tree
    routes: Routes
    models: Sequence[_Models]


def muster(world: World) -> Fleet:
    """All adapters that git or the ledger knows: unfinished rollbacks first, then releases under way, then the rest."""
    world = steady(world)
    picture = _take(world)
    found = dict(world.ledger.states())
    states = {name: state for name, state in found.items() if isinstance(state, RolloutState)}
    known = {*picture.manifests, *found}
    names = sorted(known, key=lambda name: (_urgency(states.get(name)), name))
    at_rest = {name: state for name, state in states.items() if _rests(world, name, state, picture)}
    return Fleet(world=world, names=names, at_rest=at_rest)


def advance_all(fleet: Fleet, *, signature: Signature, gatekeeper: Gatekeeper) -> Iterator[Ended]:
    """One tick each. What stops one adapter stops no other, be it a bug. Git is seen as it was when they were mustered."""
    world = fleet.world
    for name in fleet.names:
        if (state := fleet.at_rest.get(name)) is not None:
            yield Ended(name=name, tick=_rest(world, name, state))
            continue
        try:
            tick = advance(world, name, signature=signature, gatekeeper=gatekeeper)
        except Exception as error:  # whatever is broken here is that of one adapter
            alone = f"rollout advance {name} -e {world.environment.name}"
            yield Ended(name=name, error=as_error(error, alone=alone))
        else:
            yield Ended(name=name, tick=tick)


def _take(world: World) -> _Picture:
    manifests: dict[str, list[PurePosixPath]] = {}
    for path, name in names_of(world).items():
        if name is not None:
            manifests.setdefault(name, []).append(path)
    return _Picture(
        manifests=manifests,
        tree=world.manifests.tree(),
        routes=world.routes.read(),
        models=[_models(replica) for replica in world.replicas],
    )


def _models(replica: Serving) -> _Models:
    found: dict[str | None, list[tuple[str, str | None]]] = {}
    with suppress(Exception):  # then nothing rests, and each tick tells it
        for model in replica.models():
            found.setdefault(adapter_of(model.name), []).append((model.name, model.root))
    return found


def _urgency(state: RolloutState | None) -> int:
    if state is None or state.unfinished_rollback is not None:
        return 0
    return 1 if state.phase.under_way else 2


def _rests(world: World, name: str, state: RolloutState, picture: _Picture) -> bool:
    try:
        return _is_at_rest(world, name, state, picture)
    except Exception:  # its tick tells it
        return False


def _is_at_rest(world: World, name: str, state: RolloutState, picture: _Picture) -> bool:
    """Whether a tick would find nothing to do: git asks for what is stable, the routes say so, all servers have it."""
    stable = state.stable
    if state.phase is not Phase.IDLE or stable is None:
        return False
    path = PurePosixPath(stable.path)
    if picture.manifests.get(name) != [path]:
        return False
    if hashlib.sha256(picture.tree.read(path)).hexdigest() != stable.manifest_sha256:
        return False
    return _is_routed(world, name, state, picture.routes) and all(
        models.get(name) == [(stable.served_name, str(world.shelf.folder(stable.served_name)))]
        for models in picture.models
    )


def _is_routed(world: World, name: str, state: RolloutState, routes: Routes) -> bool:
    present = routes.routes.get(name)
    return present is not None and present == route_of(
        state,
        flag=world.environment.flag_key(name),
        base=world.environment.server.base,
        mirror=Share.ZERO,
        response_schema=present.response_schema,
        max_flag_age_s=world.environment.flags.max_age_s,
    )


def _rest(world: World, name: str, state: RolloutState) -> Tick:
    assert state.stable is not None
    return Tick(
        name=name,
        environment=world.environment.name,
        move=Move.IDLE,
        reason=f"{state.stable.served_name} is stable, as git says",
        before=state,
        after=state,
    )
