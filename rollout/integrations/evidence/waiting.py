"""Evidence that waits on this machine until a branch has it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from rollout.durable import exclusive, replace
from rollout.errors import Unreadable
from rollout.integrations.evidence.folder import checked, place_of


class Waiting:
    """A folder of whole files or none, whoever dies, which any process of this clone may bring away."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, content: bytes) -> str:
        """Keep it durably; the answer is its digest. Raises Unavailable where the folder cannot be written."""
        digest = hashlib.sha256(content).hexdigest()
        if self.find(digest) is None:
            with exclusive(self._folder / "all"):
                for unfinished in self._folder.glob(".*.tmp"):
                    unfinished.unlink(missing_ok=True)
                replace(self._folder / digest, content)
        return digest

    def find(self, digest: str) -> bytes | None:
        """What waits under a digest, if anything does that is in order."""
        place_of(digest)
        try:
            return checked((self._folder / digest).read_bytes(), digest)
        except (OSError, Unreadable):
            return None

    def all(self) -> Iterator[tuple[str, bytes]]:
        """(digest, content) of what waits now. What is not what it is called stays, and is nobody's evidence."""
        for path in sorted(self._folder.glob("[0-9a-f]*")):
            try:
                content = self.find(path.name)
            except Unreadable:
                continue
            if content is not None:
                yield path.name, content

    def remove(self, digest: str) -> None:
        """It waits no more."""
        (self._folder / digest).unlink(missing_ok=True)
