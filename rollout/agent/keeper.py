"""Keeps a server's adapters what the routes name: laid down, verified, loaded, and unloaded once they are drained."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rollout.agent.delivered import Delivered
from rollout.core.manifest import AdapterManifest
from rollout.core.routes import Routes
from rollout.errors import LoadRefused, RolloutError, Unavailable, Unreadable
from rollout.ports import ServedModel, Serving, Shelf

_READ_ONLY, _PASSABLE = 0o444, 0o555


class Surroundings(Protocol):
    """What a keeper asks of the world around its server."""

    def routes(self) -> Routes:
        """The routes in force. Raises RolloutError if they are not known."""
        ...

    def under_way(self, served: str) -> bool:
        """Whether a request of an adapter is under way. Raises Unavailable if nobody can tell."""
        ...

    def why_not(self, manifest: AdapterManifest, folder: Path) -> tuple[str, ...]:
        """All that stands against loading what lies in a folder: some engines accept anything."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the server can hold beside its `base`, and how long an adapter stays that no route names."""

    base: str
    slots: int
    drain_s: float


class Keeper:
    """Delivers adapters to one server and keeps what the routes name loaded there. Usable from several threads.

    `now` is a clock in seconds that never goes back.
    """

    def __init__(
        self,
        server: Serving,
        shelf: Shelf,
        delivered: Delivered,
        around: Surroundings,
        limits: Limits,
        *,
        now: Callable[[], float],
    ) -> None:
        self._server = server
        self._shelf = shelf
        self._delivered = delivered
        self._around = around
        self._limits = limits
        self._now = now
        self._wanted_at: dict[str, float] = {}
        self._changing = threading.Lock()

    def deliver(self, manifest: AdapterManifest) -> Path:
        """Lay an adapter down, verified and inspected, remember it and load it; the answer is its folder.

        What is there already is verified again. Raises Unreadable for bytes that are not what they should be,
        LoadRefused if the server cannot take them, Unavailable where a retry may help.
        """
        folder = self._lay_down(manifest)  # may take long, and must not keep a restarted server waiting
        with self._changing:
            self._delivered.keep(manifest)
            self._load(manifest.served_name, folder)
        return folder

    def load(self, served: str) -> None:
        """Load what was delivered, verified again. Raises as `deliver`, and Unreadable for what never was."""
        with self._changing:
            self._load_again(served)

    def unload(self, served: str) -> None:
        """Forget an adapter that no route names. Raises LoadRefused for one that a route does, or that is not ours."""
        with self._changing:
            if served in self._named():
                raise LoadRefused(f"the routes name {served}, so that it stays loaded")
            if served not in self._ours(self._listed()):
                raise LoadRefused(f"{served} was not loaded from here, so that it is not unloaded from here")
            self._server.unload(served)

    def keep(self) -> tuple[str, ...]:
        """One pass: load what the routes name, unload what they do not; the answer is what is still missing."""
        with self._changing:
            named = self._named()
            self._wanted_at.update(dict.fromkeys(named, self._now()))
            missing: list[str] = []
            for served in sorted(named - self._ours(self._listed())):
                try:
                    self._load_again(served)
                except RolloutError as error:
                    missing.append(f"{served}: {error.message}")
            self._unload_drained(named)
            return tuple(missing)

    def missing(self) -> tuple[str, ...]:
        """What the routes name and the server does not list from its folder, looked up now."""
        return tuple(sorted(self._named() - self._ours(self._listed())))

    def folder_of(self, served: str) -> Path:
        """Where a served name lies, or would lie."""
        return self._shelf.folder(served)

    def _lay_down(self, manifest: AdapterManifest) -> Path:
        stood = self.folder_of(manifest.served_name).exists()
        folder = self._shelf.lay_down(manifest)
        try:
            if manifest.served_name not in self._delivered:
                self._inspect(manifest, folder)
        except RolloutError:
            if not stood:  # otherwise somebody else has laid it down, and a server may read from it
                shutil.rmtree(folder, ignore_errors=True)
            raise
        _seal(folder, manifest.artifact.files)
        return folder

    def _inspect(self, manifest: AdapterManifest, folder: Path) -> None:
        if why := self._around.why_not(manifest, folder):
            raise LoadRefused(f"{manifest.served_name} cannot be loaded: {'; '.join(why)}")

    def _load_again(self, served: str) -> None:
        manifest = self._delivered.find(served)
        if manifest is None:
            raise Unreadable(f"{served} was never delivered here", advice="A tick delivers it.")
        self._load(served, self._lay_down(manifest))

    def _load(self, served: str, folder: Path) -> None:
        self._make_room(served)
        self._server.load(served, folder)
        self._wanted_at[served] = self._now()

    def _make_room(self, served: str) -> None:
        listed = self._listed()
        if served in listed or len(listed) < self._limits.slots:
            return
        named = self._named()
        idle = [name for name in self._ours(listed) if name not in named and not self._busy(name)]
        if not idle:
            raise LoadRefused(
                f"all {self._limits.slots} slots of {self._server.name} are taken, and none of "
                f"{', '.join(sorted(listed))} is idle and named by no route",
                advice="Let releases end, or start the servers with more slots (`max_loras`).",
            )
        self._server.unload(min(idle, key=lambda name: self._wanted_at.get(name, 0.0)))

    def _unload_drained(self, named: frozenset[str]) -> None:
        for served in sorted(self._ours(self._listed())):
            since = self._wanted_at.setdefault(served, self._now())
            drained = served not in named and self._now() - since >= self._limits.drain_s
            if drained and not self._busy(served):
                self._server.unload(served)

    def _busy(self, served: str) -> bool:
        try:
            return self._around.under_way(served)
        except Unavailable:
            return True

    def _named(self) -> frozenset[str]:
        routes = self._around.routes().routes.values()
        names = {name for route in routes for name in (route.stable, route.candidate) if name}
        return frozenset(names - {self._limits.base})

    def _listed(self) -> Mapping[str, ServedModel]:
        """The adapters that the server lists."""
        return {model.name: model for model in self._server.models() if model.parent is not None}

    def _ours(self, listed: Mapping[str, ServedModel]) -> frozenset[str]:
        """Those that come from where their bytes were verified: the folder's name holds their digest."""
        return frozenset(name for name, model in listed.items() if model.root == str(self.folder_of(name)))


def _seal(folder: Path, files: Iterable[str]) -> None:
    """Take away every right to write: a server reads a folder again when it likes, and would serve what changed."""
    try:
        for name in files:
            (folder / name).chmod(_READ_ONLY)
        folder.chmod(_PASSABLE)
    except OSError as error:
        raise Unavailable(f"{folder} cannot be made read-only: {error.strerror}") from error
