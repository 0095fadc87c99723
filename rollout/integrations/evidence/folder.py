"""ArtifactStore over a folder: evidence under its own digest."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path, PurePosixPath

from rollout.durable import exclusive, replace
from rollout.errors import Unreadable

_DIGEST = re.compile(r"[0-9a-f]{64}")


class EvidenceFolder:
    """`<folder>/<first two digits>/<digest>`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, content: bytes) -> str:
        """Keep it; the answer is its sha256."""
        digest = hashlib.sha256(content).hexdigest()
        path = self._folder / place_of(digest)
        if not path.exists():
            with exclusive(path) as target:
                replace(target, content)
        return digest

    def queue(self, content: bytes) -> str:
        """The same: a folder is never far."""
        return self.put(content)

    def flush(self) -> None:
        """Nothing waits."""

    def get(self, digest: str) -> bytes:
        """The content, checked against its digest."""
        try:
            content = (self._folder / place_of(digest)).read_bytes()
        except FileNotFoundError:
            raise Unreadable(f"evidence {digest[:12]} is not in {self._folder}") from None
        return checked(content, digest)


def place_of(digest: str) -> PurePosixPath:
    """Where evidence lies, in a folder or on a branch. Raises Unreadable for what is no digest."""
    if not _DIGEST.fullmatch(digest):
        raise Unreadable(f"{digest!r} is not a sha256 digest")
    return PurePosixPath(digest[:2], digest)


def checked(content: bytes, digest: str) -> bytes:
    """The content, if it is that of the digest. Raises Unreadable if not."""
    if hashlib.sha256(content).hexdigest() != digest:
        raise Unreadable(f"evidence {digest[:12]} does not match its digest: it was changed")
    return content
