"""Where things are: the repository around a folder, its documents as they lie there or at a commit."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from rollout.core.environment import Environment
from rollout.errors import Unreadable, Usage
from rollout.integrations.documents import StrictDocuments
from rollout.integrations.workfolder import WorkingFolder
from rollout.usecases.workspace import Workspace


def find_root(start: Path) -> Path:
    """The repository around a folder: the nearest one upwards that holds `.git` or `policies`."""
    for folder in (start.resolve(), *start.resolve().parents):
        if (folder / ".git").exists() or (folder / "policies").is_dir():
            return folder
    raise Unreadable(
        f"{start} lies in no repository",
        advice="Run rollout where manifests/ and policies/ are; `rollout init` sets them up.",
    )


def path_below(root: Path, path: Path) -> PurePosixPath:
    """A path from the command line, relative to the root. Raises Usage if it leads out of it."""
    # Links are left in place: the tree refuses them itself, and says so.
    absolute = Path(*normal((Path.cwd() / path).parts))
    if not absolute.is_relative_to(root):
        raise Usage(f"{path} lies outside of the repository {root}")
    return PurePosixPath(absolute.relative_to(root).as_posix())


def normal(parts: tuple[str, ...]) -> list[str]:
    """The parts of a path without `..`, which here never follows a link."""
    kept: list[str] = []
    for part in parts:
        if part == "..":
            kept[1:] = kept[1:-1]
        else:
            kept.append(part)
    return kept


def working_folder(root: Path) -> Workspace:
    """The documents as they lie in the working folder."""
    return Workspace(WorkingFolder(root), StrictDocuments())


def tree_at(root: Path, reference: str) -> Workspace:
    """The documents as they are at a commit."""
    from rollout.integrations.git import GitRepository

    return Workspace(GitRepository(root).at(reference), StrictDocuments())


def commit_at(root: Path, reference: str) -> str:
    """The commit that a reference names."""
    from rollout.integrations.git import GitRepository

    return GitRepository(root).at(reference).commit


def repository_above(folder: Path) -> Path | None:
    """The root of the git repository that a folder lies in, None if that is the folder itself or there is none."""
    absolute = Path(*normal((Path.cwd() / folder).parts))
    roots = (each for each in (absolute, *absolute.parents) if (each / ".git").exists())
    found = next(roots, None)
    return None if found == absolute else found


def load_environment(name: str, root: Path) -> Environment:
    """The environment document of that name below `root`. Raises Unreadable and DocumentErrors."""
    return working_folder(root).environment(name).value
