"""Folders that a suite pins by one digest over all that they hold."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from rollout.core.panel import PinnedFolder
from rollout.digests import open_plain
from rollout.errors import Unreadable

_MOST_FILES = 10_000


def files_of(folder: Path) -> tuple[str, ...]:
    """The files below a folder, as the digest lists them. Raises Unreadable where there are none, or too many."""
    found: list[str] = []
    for place, folders, names in os.walk(folder, onerror=_raise):
        folders[:] = [name for name in folders if not name.startswith(".")]
        below = Path(place).relative_to(folder)
        # A link to a folder counts as a file, which is refused where it is opened.
        names += [name for name in folders if (Path(place) / name).is_symlink()]
        found += [(below / name).as_posix() for name in names if not name.startswith(".")]
        if len(found) > _MOST_FILES:
            raise Unreadable(f"{folder.name} holds more than {_MOST_FILES} files")
    if not found:
        raise Unreadable(f"there is no file in {folder.name}")
    return tuple(sorted(found, key=os.fsencode))


def digest_of_folder(folder: Path) -> str:
    """The digest that a `PinnedFolder` names. Raises Unreadable for links and for whatever else is no plain file."""
    lines = (f"{_sha256(folder, name)}  {name}\n" for name in files_of(folder))
    return hashlib.sha256(b"".join(map(os.fsencode, lines))).hexdigest()


def verify_pinned(folder: Path, pinned: PinnedFolder) -> None:
    """Raise Unreadable unless the folder holds what the suite has pinned."""
    found = digest_of_folder(folder)
    if found != pinned.sha256:
        raise Unreadable(
            f"{pinned.path} has the digest {found}, the suite says {pinned.sha256}",
            advice="If this is the right content, name its digest in the suite.",
        )


def _sha256(folder: Path, name: str) -> str:
    try:
        with open_plain(folder / name) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise Unreadable(
            f"{name} in {folder.name} is no plain file or cannot be read: {error.strerror}"
        ) from None


def _raise(error: OSError) -> None:
    raise Unreadable(f"{Path(error.filename).name} cannot be read: {error.strerror}") from None
