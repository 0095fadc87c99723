"""A working folder as a Tree: plain files below one root, and nothing else."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from rollout.errors import Unreadable

MAX_BYTES = 64 << 20


class WorkingFolder:
    """The port `Tree` over a folder. A link anywhere on the way is refused, wherever it leads."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    @property
    def root(self) -> Path:
        """The folder, without links."""
        return self._root

    @property
    def commit(self) -> str | None:
        """None: a working folder is no commit."""
        return None

    def read(self, path: PurePosixPath) -> bytes:
        """One file. Raises Unreadable if it is not there, not a plain file, a link, or outside."""
        place = self._inside(path)
        try:
            return self._bytes(place, path)
        except OSError as error:
            raise Unreadable(f"{path} cannot be read: {error.strerror}") from None

    def exists(self, path: PurePosixPath) -> bool:
        """Whether there is such a plain file, reached without a link."""
        try:
            return stat.S_ISREG(self._inside(path).lstat().st_mode)
        except (Unreadable, OSError):
            return False

    def files(self, folder: PurePosixPath, suffix: str) -> Iterator[PurePosixPath]:
        """The plain files below a folder whose names end so, sorted; links are not followed."""
        found = []
        for parent, folders, names in os.walk(self._inside(folder), followlinks=False):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in names:
                path = Path(parent, name)
                if name.endswith(suffix) and stat.S_ISREG(path.lstat().st_mode):
                    found.append(PurePosixPath(path.relative_to(self._root).as_posix()))
        yield from sorted(found)

    def _inside(self, path: PurePosixPath) -> Path:
        if path.is_absolute() or ".." in path.parts:
            raise Unreadable(f"{path} lies outside of the repository")
        place = self._root
        for part in path.parts:
            place = place / part
            if place.is_symlink():
                raise Unreadable(f"{path} is reached through a link, which is refused")
        return place

    def _bytes(self, place: Path, path: PurePosixPath) -> bytes:
        # The descriptor is checked, not the name: a pipe would hang the read, a swapped link would escape.
        handle = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise Unreadable(f"{path} is not a plain file")
            if status.st_size > MAX_BYTES:
                raise Unreadable(f"{path} has {status.st_size} bytes; at most {MAX_BYTES} are read")
            return file.read(MAX_BYTES)
