"""Adapters on their way from an address to facts: found here or fetched, verified, read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from rollout.errors import Unreadable
from rollout.usecases.workspace import Workspace
from rollout.wiring.places import find_root, path_below, working_folder

if TYPE_CHECKING:
    from rollout.core.artifact import ArtifactFacts
    from rollout.core.manifest import Artifact, Dtype
    from rollout.core.source import Sources
    from rollout.ports import Shelf
    from rollout.usecases.inspect import Inspection

# Where fetched artifacts are kept, below the root of the repository.
FETCHED = ".rollout/artifacts"


def artifact_folder(root: Path, uri: str) -> Path:
    """The folder of an adapter. Raises Unreadable for a scheme that is not at hand, or a way out of the root."""
    if uri.startswith("file://"):
        folder = Path(uri.removeprefix("file://"))
        if not folder.is_absolute() or ".." in folder.parts:
            raise Unreadable(f"{uri} is not an absolute path without '..'")
        return folder
    if ":" in uri.split("/", 1)[0]:
        raise Unreadable(f"{uri}: only folders of the repository and file:// are read here")
    relative = PurePosixPath(uri)
    if relative.is_absolute() or ".." in relative.parts:
        raise Unreadable(f"{uri} lies outside of the repository")
    folder = root
    for part in relative.parts:
        folder = folder / part
        if folder.is_symlink():
            raise Unreadable(f"{uri} is reached through a link, which is refused")
    return folder


def locate_artifact(
    root: Path,
    artifact: Artifact,
    sources: Sources | None,
    progress: Callable[[str, int, int | None], None] | None = None,
) -> Path:
    """The folder of an artifact here: local ones in place, remote ones fetched and verified as `sources` admits.

    Raises Unreadable if the policy admits no such address (before any connection) or the bytes are others
    than declared, and Unavailable if a retry may help. `progress` is told (file, bytes here, size if known).
    """
    from rollout.core.source import is_remote, parse_remote, require_admitted, require_folder

    if not is_remote(artifact.uri):
        folder = artifact_folder(root, artifact.uri)
        if folder.is_relative_to(root):
            return folder
        admitted = Path(require_folder(folder.as_posix(), sources))
        if not folder.resolve().is_relative_to(admitted.resolve()):
            raise Unreadable(f"{artifact.uri} is reached through a link out of {admitted}, which is refused")
        return folder
    from rollout.integrations.sources import fetch

    uri = parse_remote(artifact.uri)
    policy = require_admitted(uri, sources)
    return fetch(
        uri,
        artifact,
        cache=artifact_folder(root, FETCHED),
        max_file_bytes=policy.max_file_bytes,
        progress=progress,
    )


def _locate(root: Path, judge: Workspace, artifact: Artifact) -> Path:
    sources = judge.sources()
    return locate_artifact(root, artifact, None if sources is None else sources.value)


def inspect_artifact(
    root: Path,
    judge: Workspace,
    artifact: Artifact,
    dtypes: frozenset[Dtype],
    base_paths: tuple[str, ...],
) -> ArtifactFacts:
    """The facts of an adapter for the serving types, compared with every base whose folder is at hand."""
    from rollout.integrations.safetensors import inspect

    folder = _locate(root, judge, artifact)
    return inspect(folder, dtypes=dtypes, bases=[root / path for path in base_paths])


def inspect_path(
    path: Path,
    *,
    dtypes: Sequence[Dtype],
    bases: Sequence[Path],
    weights_of: Path | None,
    progress: Callable[[str, int, int], None],
) -> Inspection:
    """What lies in a folder, or what a manifest speaks of, seen from all environments of its repository."""
    from rollout.integrations.safetensors import inspect
    from rollout.usecases.inspect import inspect_folder, inspect_manifest

    look = partial(inspect, weights_of=weights_of, progress=progress)
    if not os.path.isfile(path):  # noqa: PTH113 - pathlib raises for names that are too long
        return inspect_folder(str(path), dtypes, lambda types: look(path, dtypes=types, bases=bases))
    root = find_root(path.parent)
    workspace = working_folder(root)
    return inspect_manifest(
        workspace.manifest(path_below(root, path)).value,
        [workspace.environment(name).value for name in workspace.environment_names()],
        lambda artifact, types, paths: look(
            _locate(root, workspace, artifact), dtypes=types, bases=[root / each for each in paths]
        ),
        dtypes=dtypes,
        bases=[str(base) for base in bases],
    )


@contextmanager
def passing_shelf(root: Path, judge: Workspace) -> Iterator[Shelf]:
    """A shelf that is there for one evaluation: no server reads from it.

    Artifacts are fetched from where the judging tree allows it.
    """
    from tempfile import TemporaryDirectory

    from rollout.integrations.shelf import AdapterShelf

    with TemporaryDirectory(prefix="rollout-evaluate-") as folder:
        yield AdapterShelf(Path(folder), locate=partial(_locate, root, judge))
