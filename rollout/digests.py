"""Files that nobody vouches for yet: opened with care, told by their sha256."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from io import BufferedReader
from pathlib import Path

from rollout.errors import Unreadable


def open_plain(path: Path) -> BufferedReader:
    """A plain file, open for reading; a link, a folder or a pipe is an OSError, and nothing waits for a writer."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    # The descriptor is asked, not the name: what bears the name may be another file by now.
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "not a plain file")
    return os.fdopen(handle, "rb")


def sha256_of(path: Path) -> str | None:
    """The digest of a plain file in hex; None if there is none, if it is a link or anything else, or unreadable."""
    try:
        with open_plain(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def require_sha256(path: Path, digest: str, *, name: str) -> None:
    """Raise Unreadable unless the file, called `name` in the error, has the digest that its manifest declares."""
    found = sha256_of(path)
    if found is None:
        raise Unreadable(f"{name} of the adapter cannot be read, or is no plain file")
    if found != digest:
        raise Unreadable(
            f"{name} has sha256 {found[:12]}…, the manifest says {digest[:12]}…",
            advice="These are not the bytes that the manifest speaks of; give changed bytes a new version.",
        )
