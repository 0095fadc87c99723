"""What a command would do, found by doing it up to the first change of anything outside.

Whoever is given this world reads the real one. What it adds to the ledger or to the evidence stays with it, and is read
there again; the first change of a flag, the routes, a server, a gateway, the adapters' folder or git ends the run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from rollout.core.lifecycle import LedgerEntry, LedgerEvent, fold, next_entry
from rollout.core.manifest import AdapterManifest
from rollout.core.routes import Routes
from rollout.errors import LedgerConflict, RolloutError
from rollout.ports import World
from rollout.usecases.advance import advance
from rollout.usecases.begin import Gatekeeper
from rollout.usecases.book import Signature
from rollout.usecases.fleet import Fleet
from rollout.usecases.mishaps import as_error
from rollout.usecases.tick import Tick


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """A tick that changed nothing: what it would have recorded, and how it ended.

    `change` is the first change of something outside, in words, behind which nothing is known; `tick` is the whole tick
    where there is none, and `error` what kept it from being run.
    """

    name: str
    environment: str
    recorded: tuple[LedgerEvent, ...]
    change: str | None = None
    tick: Tick | None = None
    error: RolloutError | None = None


def rehearse(world: World, name: str, *, signature: Signature, gatekeeper: Gatekeeper) -> Rehearsal:
    """What a tick of an adapter would do now. Raises what the tick raises, Busy too."""
    guard = _Guard()
    dry = _guarded(world, guard)
    tick: Tick | None = None
    with suppress(_Change):
        tick = advance(dry, name, signature=signature, gatekeeper=gatekeeper)
    recorded = [entry.event for entry in dry.ledger.read(name)[len(world.ledger.read(name)) :]]
    return Rehearsal(
        name=name,
        environment=world.environment.name,
        recorded=tuple(recorded),
        change=guard.first,
        tick=None if guard.first else tick,
    )


def rehearse_all(fleet: Fleet, *, signature: Signature, gatekeeper: Gatekeeper) -> Iterator[Rehearsal]:
    """The same for all that are not at rest. What stops one stops no other."""
    for name in fleet.names:
        if name in fleet.at_rest:
            continue
        try:
            yield rehearse(fleet.world, name, signature=signature, gatekeeper=gatekeeper)
        except Exception as error:  # whatever is broken here is that of one adapter
            environment = fleet.world.environment.name
            told = as_error(error, alone=f"rollout advance {name} -e {environment} --dry-run")
            yield Rehearsal(name=name, environment=environment, recorded=(), error=told)


def dry_run(world: World) -> World:
    """The same world, in which nothing can be changed."""
    return _guarded(world, _Guard())


def _guarded(world: World, guard: _Guard) -> World:
    dry: Mapping[str, Any] = {
        "ledger": _Ledger(world.ledger, guard),
        "evidence": _Evidence(world.evidence, guard),
        "routes": _Routes(world.routes, guard),
        "shelf": _Shelf(world.shelf, guard),
        "flags": _Untouched(world.flags, guard, _FLAG),
        "manifests": _Untouched(world.manifests, guard, _GIT),
        "forge": world.forge and _Untouched(world.forge, guard, _FORGE),
        "unrecorded": _Untouched(world.unrecorded, guard, _UNRECORDED),
        "notifiers": tuple(_Untouched(each, guard, _NOTIFIER) for each in world.notifiers),
        "replicas": tuple(_Untouched(each, guard, _SERVER) for each in world.replicas),
        "gateways": tuple(_Untouched(each, guard, _GATEWAY) for each in world.gateways),
    }
    return replace(world, **dry)


class _Change(BaseException):
    """A change that is not made. No use case may take it for something that went wrong, and go on."""


class _Guard:
    """Refuses every change, and knows the first: a rollback makes several at once, each in a thread of its own."""

    def __init__(self) -> None:
        self.first: str | None = None

    def refuse(self, told: str) -> NoReturn:
        self.first = self.first or told
        raise _Change(told)


Words = Callable[..., str]
_FLAG: Mapping[str, Words] = {
    "create": lambda key, **_: f"make the flag {key}, off and stable",
    "write": lambda key, share, *, comment, **_: f"set the flag {key} to {share} ({comment})",
    "take_back": lambda key, *, comment, **_: f"set the flag {key} off and stable ({comment})",
}
_GIT: Mapping[str, Words] = {
    "restore": lambda path, **_: f"restore {path} in git",
    "propose": lambda path, *, branch, **_: f"propose to restore {path} on {branch}",
}
_FORGE: Mapping[str, Words] = {
    "open": lambda proposal: f"open a pull request of {proposal.branch}",
    "merge_when_ready": lambda pull, _: f"have {pull} merged",
    "close": lambda pull: f"close {pull}",
    "comment": lambda pull, *_, **__: f"comment on {pull}",
}
_UNRECORDED: Mapping[str, Words] = {
    "keep": lambda told: f"keep the rollback of {told.name} until the ledger can take it in",
    "forget": lambda name: f"forget the rollback of {name} that the ledger could not take in",
}
_NOTIFIER: Mapping[str, Words] = {"send": lambda notice: f"tell that {notice.headline}"}
_SERVER: Mapping[str, Words] = {
    "load": lambda served, *_: f"load {served} on the servers",
    "unload": lambda served, *_: f"unload {served} on the servers",
}
_GATEWAY: Mapping[str, Words] = {
    "hold": lambda *_, **__: "hold the candidate at the gateways",
    "lift": lambda served: f"lift the hold of {served}",
}


class _Read:
    """A port of which all that is not said here is as it is."""

    def __init__(self, port: Any, guard: _Guard) -> None:
        self._port, self._guard = port, guard

    def __getattr__(self, name: str) -> Any:
        return getattr(self._port, name)


class _Untouched(_Read):
    def __init__(self, port: Any, guard: _Guard, changes: Mapping[str, Words]) -> None:
        super().__init__(port, guard)
        self._changes = changes

    def __getattr__(self, name: str) -> Any:
        told = self._changes.get(name)
        if told is None:
            return super().__getattr__(name)

        def change(*positional: Any, **named: Any) -> None:
            self._guard.refuse(told(*positional, **named))

        return change


class _Ledger(_Read):
    def __init__(self, port: Any, guard: _Guard) -> None:
        super().__init__(port, guard)
        self._added: dict[str, list[LedgerEntry]] = {}

    def read(self, name: str) -> tuple[LedgerEntry, ...]:
        return (*self._port.read(name), *self._added.get(name, ()))

    def append(self, name: str, event: LedgerEvent, *, after: str | None) -> LedgerEntry:
        entries = self.read(name)
        last = entries[-1] if entries else None
        if (last and last.hash) != after:
            raise LedgerConflict(f"somebody else added to the ledger of {name} meanwhile")
        entry = next_entry(last, event)
        fold((*entries, entry))
        self._added.setdefault(name, []).append(entry)
        return entry

    def anchor(self, name: str, *_: Any, **__: Any) -> None:
        self._guard.refuse(f"compact the ledger of {name}")


class _Evidence(_Read):
    def __init__(self, port: Any, guard: _Guard) -> None:
        super().__init__(port, guard)
        self._kept: dict[str, bytes] = {}

    def put(self, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        self._kept[digest] = content
        return digest

    def queue(self, content: bytes) -> str:
        return self.put(content)

    def flush(self) -> None:
        """Nothing is brought anywhere."""

    def get(self, digest: str) -> bytes:
        return self._kept.get(digest) or bytes(self._port.get(digest))


class _Routes(_Read):
    def update(self, change: Callable[[Routes], Routes]) -> Routes:
        present: Routes = self._port.read()
        if change(present) != present:
            self._guard.refuse("write the routes anew")
        return present


class _Shelf(_Read):
    """What lies there is taken to be what it should be; what does not is seen as servers do not have it."""

    def lay_down(self, manifest: AdapterManifest) -> Path:
        folder: Path = self._port.folder(manifest.served_name)
        return folder
