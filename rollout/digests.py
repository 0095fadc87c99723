"""The sha256 of files that nobody vouches for yet."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from rollout.errors import Unreadable


def sha256_of(path: Path) -> str | None:
    """The digest of a plain file in hex; None if there is none, if it is a link or anything else, or unreadable."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return None
        try:
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
