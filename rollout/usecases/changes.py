"""Which manifests a change touches, and what cannot be read in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import PurePosixPath

from rollout.core.document import DocumentErrors, Located, Problem
from rollout.core.manifest import AdapterManifest
from rollout.errors import Unreadable
from rollout.usecases.workspace import MANIFESTS, POLICIES, SUFFIX, Workspace


def choose_manifests(
    head: Workspace,
    base: Workspace | None,
    paths: Sequence[PurePosixPath] | None,
    touched: frozenset[PurePosixPath] = frozenset(),
) -> tuple[tuple[PurePosixPath, ...], tuple[PurePosixPath, ...]]:
    """(manifests to check, manifests that the base has and the change does not).

    A manifest that reads as before is checked too if files of its adapter are among the `touched` ones.

    Raises Unreadable if there is none at all, or none at one of the paths.
    """
    if paths is not None:
        return _expanded(head, paths), ()
    here = head.manifest_paths()
    there = base.manifest_paths() if base else ()
    if not here and not there:
        raise Unreadable(
            f"there is no manifest below {MANIFESTS}/",
            advice="Nothing to check is never a pass. `rollout manifest new ADAPTER_DIR` drafts the first one.",
        )
    if base is None:
        return here, ()
    adapters = frozenset(file for file in touched if not _is_document(file))
    before, now = frozenset(there), frozenset(here)
    changed = tuple(
        path
        for path in here
        if path not in before or differs(head, base, path) or _adapter_is_among(adapters, head, path)
    )
    return changed, tuple(path for path in there if path not in now)


def _is_document(file: PurePosixPath) -> bool:
    """Whether a file is a manifest or a policy, and so none of an adapter's: most changes are only these."""
    return file.parts[0] in (str(MANIFESTS), str(POLICIES)) and file.suffix == SUFFIX


def _adapter_is_among(touched: frozenset[PurePosixPath], head: Workspace, path: PurePosixPath) -> bool:
    if not touched:
        return False
    found, _ = read_manifests(head, [path])
    folders = [PurePosixPath(manifest.value.artifact.uri) for manifest in found]
    return any(file.is_relative_to(folder) for file in touched for folder in folders)


def _expanded(head: Workspace, paths: Sequence[PurePosixPath]) -> tuple[PurePosixPath, ...]:
    found: dict[PurePosixPath, None] = {}
    for path in paths:
        below = (path,) if head.tree.exists(path) else tuple(head.tree.files(path, ".yaml"))
        if not below:
            raise Unreadable(f"there is no manifest at {path}")
        found.update(dict.fromkeys(below))
    return tuple(found)


def differs(head: Workspace, base: Workspace, path: PurePosixPath) -> bool:
    """Whether a file that both have reads differently."""
    return head.tree.read(path) != base.tree.read(path)


def read_manifests(
    workspace: Workspace, paths: Iterable[PurePosixPath]
) -> tuple[list[Located[AdapterManifest]], list[Problem]]:
    """The manifests that can be read, and every problem of the others."""
    found: list[Located[AdapterManifest]] = []
    problems: list[Problem] = []
    for path in paths:
        try:
            found.append(workspace.manifest(path))
        except DocumentErrors as error:
            problems.extend(error.problems)
    return found, problems


class ManifestNames:
    """Which manifest bears which name in one tree, found when somebody asks."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def live_on(self, path: PurePosixPath, before: Workspace) -> bool:
        """Whether the manifest that another tree has at a path has only moved: its name is here still."""
        return before.manifest_name(path) in self.paths

    @cached_property
    def paths(self) -> Mapping[str, tuple[PurePosixPath, ...]]:
        """The paths of each name, sorted; a file that cannot be read has none."""
        found: dict[str, tuple[PurePosixPath, ...]] = {}
        for path in self._workspace.manifest_paths():
            name = self._workspace.manifest_name(path)
            if name is not None:
                found[name] = (*found.get(name, ()), path)
        return found


def shared_names(names: ManifestNames, manifests: Sequence[Located[AdapterManifest]]) -> list[Problem]:
    """Two manifests of one name would steer one flag."""
    return [
        manifest.problem(
            ("name",),
            f"{', '.join(others)} has the same name, and both would steer one flag",
            found=manifest.value.name,
        )
        for manifest in manifests
        if (others := [str(p) for p in names.paths.get(manifest.value.name, ()) if str(p) != manifest.source])
    ]


def find_previous(
    base: Workspace, names: ManifestNames, manifest: Located[AdapterManifest]
) -> tuple[AdapterManifest | None, bool]:
    """(the manifest of that name at the base or None, whether the file there could not be read)."""
    path, lost = PurePosixPath(manifest.source), False
    if base.tree.exists(path):
        found, problems = read_manifests(base, [path])
        lost = bool(problems)
        if found and found[0].value.name == manifest.value.name:
            return found[0].value, False
    for candidate in names.paths.get(manifest.value.name, ()):
        found, _ = read_manifests(base, [candidate])
        if found:
            return found[0].value, False
    return None, lost
