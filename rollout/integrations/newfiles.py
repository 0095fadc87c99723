"""Files put into a folder that somebody else owns: whole or not at all, and never in the place of others."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path, PurePosixPath

from rollout.durable import replace
from rollout.errors import Unavailable, Unreadable

MAX_BYTES = 64 << 20

# Where a file is written before it gets its name; git ignores it, should somebody be killed meanwhile.
_DRAFT = PurePosixPath(".rollout/new")


class NewFiles:
    """A folder, which need not exist yet. A link on the way to a file is refused, wherever it leads."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, path: PurePosixPath) -> bytes | None:
        """What is there, None if nothing. Raises Unreadable for anything but a plain file of sensible size."""
        place = self._place(path)
        try:
            handle = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Unreadable(f"{path} is in the way: {error.strerror}") from None
        try:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BYTES:
                raise Unreadable(f"{path} is in the way: it is no plain file, or a very large one")
            with os.fdopen(os.dup(handle), "rb") as file:
                return file.read(MAX_BYTES)
        finally:
            os.close(handle)

    def create(self, path: PurePosixPath, content: bytes) -> bool:
        """Put a new file there; False if there is one meanwhile."""
        place, draft = self._place(path), self._place(_DRAFT)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            draft.parent.mkdir(exist_ok=True)
            draft.unlink(missing_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
            with os.fdopen(os.open(draft, flags, 0o644), "wb") as file:
                file.write(content)
            return _publish(draft, place)
        except OSError as error:
            raise Unavailable(f"{path} cannot be written: {error.strerror}") from None

    def extend(self, path: PurePosixPath, content: bytes) -> None:
        """Put the longer content in the place of what is there."""
        place = self._place(path)
        try:
            replace(place, content)
        except OSError as error:
            raise Unavailable(f"{path} cannot be written: {error.strerror}") from None

    def _place(self, path: PurePosixPath) -> Path:
        if path.is_absolute() or ".." in path.parts:
            raise Unreadable(f"{path} lies outside of the folder")
        place = self._root
        for part in path.parts[:-1]:
            place = place / part
            if place.is_symlink():
                raise Unreadable(f"{path} would be reached through a link, which is refused")
        return place / path.name


def _publish(draft: Path, place: Path) -> bool:
    """A second name, unlike a rename, never replaces a file."""
    try:
        os.link(draft, place)
    except FileExistsError:
        return False
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()
            draft.parent.rmdir()
    return True
