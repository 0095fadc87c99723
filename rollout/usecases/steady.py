"""One view of git for as long as a tick takes: what the branch asks for does not move under it, and is read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath

from rollout.core.document import D, Located
from rollout.ports import Documents, Manifests, Revert, Tree, World
from rollout.usecases.workspace import Workspace

_KEPT = 512
"""Documents that are kept parsed: those that many adapters share, and some thousand lines of the others."""


class SteadyManifests:
    """The manifests as they were when they were first asked for. What is restored is restored on the newest tip."""

    def __init__(self, manifests: Manifests) -> None:
        self.newest = manifests
        self._tip: Tree | None = None
        self._trees: dict[str, Tree] = {}
        self._changes: dict[PurePosixPath, str] = {}
        self._parents: dict[str, str | None] = {}
        self.names: Mapping[PurePosixPath, str | None] | None = None

    def tree(self) -> Tree:
        """The tree at the tip as it was first seen."""
        if self._tip is None:
            self._tip = self.newest.tree()
        return self._tip

    def at(self, commit: str) -> Tree:
        """The tree at a commit, the same one each time."""
        if commit not in self._trees:
            self._trees[commit] = self.newest.at(commit)
        return self._trees[commit]

    def last_change(self, path: PurePosixPath) -> str:
        """The commit that last touched a file, as it was first seen."""
        if path not in self._changes:
            self._changes[path] = self.newest.last_change(path)
        return self._changes[path]

    def first_parent(self, commit: str) -> str | None:
        """The commit before it."""
        if commit not in self._parents:
            self._parents[commit] = self.newest.first_parent(commit)
        return self._parents[commit]

    def restore(self, path: PurePosixPath, *, content: bytes | None, bad: bytes, message: str) -> Revert:
        """As it is: on the newest tip."""
        return self.newest.restore(path, content=content, bad=bad, message=message)

    def propose(
        self, path: PurePosixPath, *, content: bytes | None, bad: bytes, message: str, branch: str
    ) -> Revert:
        """As it is: on the newest tip."""
        return self.newest.propose(path, content=content, bad=bad, message=message, branch=branch)

    def proposed(self, branch: str) -> str | None:
        """As it is now."""
        return self.newest.proposed(branch)


class SteadyDocuments:
    """Reads each document once: the policy of a release is that of many others."""

    def __init__(self, documents: Documents) -> None:
        self.inner = documents
        self._read: dict[tuple[type, str, bytes], object] = {}

    def read(self, content: bytes, model: type[D], *, source: str) -> Located[D]:
        """One document. What has problems is read again each time."""
        key = (model, source, content)
        if key not in self._read:
            if len(self._read) >= _KEPT:
                self._read.clear()
            self._read[key] = self.inner.read(content, model, source=source)
        return self._read[key]  # type: ignore[return-value]


def steady(world: World) -> World:
    """The same world with one view of git; one that has it already is given back."""
    if isinstance(world.manifests, SteadyManifests):
        return world
    return replace(
        world, manifests=SteadyManifests(world.manifests), documents=SteadyDocuments(world.documents)
    )


def names_of(world: World) -> Mapping[PurePosixPath, str | None]:
    """The manifests on the branch, and the adapter that each speaks of; None for one that cannot be read."""
    manifests = world.manifests
    known = manifests.names if isinstance(manifests, SteadyManifests) else None
    if known is None:
        workspace = Workspace(manifests.tree(), world.documents)
        known = {path: workspace.manifest_name(path) for path in workspace.manifest_paths()}
        if isinstance(manifests, SteadyManifests):
            manifests.names = known
    return known


def newest(world: World) -> World:
    """The same world with git as it is now."""
    manifests, documents = world.manifests, world.documents
    if not isinstance(manifests, SteadyManifests) or not isinstance(documents, SteadyDocuments):
        return world
    return replace(world, manifests=manifests.newest, documents=documents.inner)
