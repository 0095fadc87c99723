"""The files of an adapter's folder: listed without following anything, opened without trusting the listing."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from rollout.errors import Unreadable

MAX_FILES = 256

_SPARSE = 64 << 20
_EXTENTS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The names in a folder: plain files, what is none, and names that cannot be printed, escaped."""

    plain: tuple[str, ...]
    not_plain: tuple[str, ...]
    unprintable: tuple[str, ...]


def list_folder(folder: Path) -> Listing:
    """What lies directly in a folder. Raises Unreadable if it is none, a link, or overcrowded."""
    name = ascii(folder.name)
    try:
        if folder.is_symlink() or not folder.is_dir():
            raise Unreadable(
                f"the adapter folder {name} does not exist or is a link",
                advice="Fetch the adapter, or correct the path.",
            )
        with os.scandir(folder) as scan:
            entries = sorted(islice(scan, MAX_FILES + 1), key=lambda entry: entry.name)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "its name is impossible"
        raise Unreadable(f"the adapter folder {name} cannot be listed: {reason}") from None
    if len(entries) > MAX_FILES:
        raise Unreadable(
            f"the adapter folder {name} holds more than {MAX_FILES} files",
            advice="An adapter is a few files in a folder of its own.",
        )
    readable = [entry for entry in entries if entry.name.isprintable()]
    return Listing(
        plain=tuple(entry.name for entry in readable if entry.is_file(follow_symlinks=False)),
        not_plain=tuple(entry.name for entry in readable if not entry.is_file(follow_symlinks=False)),
        unprintable=tuple(ascii(entry.name) for entry in entries if not entry.name.isprintable()),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A plain file: its bytes, how many there are, and whether someone may run it."""

    file: BinaryIO
    size: int
    executable: bool


@contextmanager
def opened(path: Path) -> Iterator[Opened]:
    """Open a plain file as it is, whatever has become of it since it was listed. Raises OSError and ValueError."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb", buffering=0) as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("not a plain file")
        if status.st_size > _SPARSE and _is_mostly_hole(handle, status.st_size):
            raise ValueError("most of the file is a hole")
        yield Opened(file=file, size=status.st_size, executable=bool(status.st_mode & 0o111))


def _is_mostly_hole(handle: int, size: int) -> bool:
    """Whether less than a quarter of a file was ever written: it takes no room, and ages to read.

    File systems that do not tell holes from data say that all of it is data.
    """
    data = at = 0
    try:
        for _ in range(_EXTENTS):
            start = os.lseek(handle, at, os.SEEK_DATA)
            at = os.lseek(handle, start, os.SEEK_HOLE)
            data += at - start
            if data >= size // 4:
                return False
    except OSError as error:
        # Behind the last data there is no more to be found.
        return error.errno == errno.ENXIO
    finally:
        os.lseek(handle, 0, os.SEEK_SET)
    return True
