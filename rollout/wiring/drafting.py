"""What new repositories and new manifests are written with."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from rollout.errors import Unreadable, Usage
from rollout.wiring.artifacts import artifact_folder
from rollout.wiring.places import normal, working_folder

if TYPE_CHECKING:
    from rollout.core.policy import Rule
    from rollout.integrations.documents.writing import ManifestWriting
    from rollout.integrations.newfiles import NewFiles
    from rollout.usecases.draft import Adapter, Draft
    from rollout.usecases.scaffold import NewFile, Profile


def scaffold_files(
    profile: str, *, book: Callable[[Sequence[Rule]], str], repository: str | None = None
) -> tuple[tuple[NewFile, ...], Profile]:
    """Everything that `init` puts into a folder for a profile; `repository` is ORG/REPO at the forge.

    Raises Usage if that is no such name.
    """
    from rollout.integrations.documents import edit
    from rollout.usecases.scaffold import Shipped, plan_files

    if repository is not None and not re.fullmatch(
        r"[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9._-]{1,100}", repository
    ):
        raise Usage(f"{repository!r} is not ORG/REPO")
    package = Path(__file__).parents[1]
    # A wheel brings the rules inside the package; a working copy has them beside it.
    policies = package if (package / "policies").is_dir() else package.parent
    shipped = Shipped(policies=working_folder(policies), templates=working_folder(package))
    found = shipped.profile(profile)
    organisation = None if repository is None else repository.split("/")[0]
    return plan_files(shipped, found, edit=edit, book=book, organisation=organisation), found


def new_files(folder: Path) -> NewFiles:
    """A folder to put new files into."""
    from rollout.integrations.newfiles import NewFiles

    return NewFiles(folder)


def manifest_writing() -> ManifestWriting:
    """How manifests are spelled, edited and read back."""
    from rollout.integrations.documents.writing import ManifestWriting

    return ManifestWriting()


def read_adapter(root: Path, folder: Path) -> Adapter:
    """The files of a folder, compared with the bases that the environments name. Raises Unreadable and Usage."""
    from rollout.core.source import is_remote
    from rollout.integrations.safetensors import inspect
    from rollout.usecases.draft import Adapter

    absolute = Path(*normal((Path.cwd() / folder).parts))
    inside = absolute.relative_to(root) if absolute.is_relative_to(root) else None
    uri = f"file://{absolute}" if inside is None else inside.as_posix()
    if is_remote(uri):
        raise Usage(f"{uri!a} would be read as an address: a colon must not stand in the first folder's name")
    workspace = working_folder(root)
    servers = [workspace.environment(name).value.server for name in workspace.environment_names()]
    bases = dict.fromkeys(root / server.base_path for server in servers if server.base_path)
    dtypes = frozenset(server.dtype for server in servers)
    facts = inspect(artifact_folder(root, uri), dtypes=dtypes, bases=list(bases))
    return Adapter(uri=uri, folder=PurePosixPath(absolute), facts=facts)


def write_draft(root: Path, draft: Draft, output: Path | None) -> None:
    """Put a draft into its place, or into `output`. Raises Usage rather than replace another file."""
    place = root / draft.path if output is None and draft.path is not None else Path.cwd() / (output or "")
    place = Path(*normal(place.parts))
    if draft.replaces is not None and draft.path is not None and place == root / draft.path:
        files, path = new_files(root), draft.path
        if files.read(path) != draft.replaces:
            raise Unreadable(f"{path} was changed meanwhile", advice="Run it again.")
        files.extend(path, draft.content)
    elif not new_files(place.parent).create(PurePosixPath(place.name), draft.content):
        raise Usage(f"{output or draft.path} is there already", advice="Name another file with --output.")
