"""ArtifactStore over a folder: evidence under its own digest."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from rollout.durable import exclusive, replace
from rollout.errors import Unreadable

_DIGEST = re.compile(r"^[0-9a-f]{64}$")


class EvidenceFolder:
    """`<folder>/<first two digits>/<digest>`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, content: bytes) -> str:
        """Keep it; the answer is its sha256."""
        digest = hashlib.sha256(content).hexdigest()
        path = self._path(digest)
        if not path.exists():
            with exclusive(path) as target:
                replace(target, content)
        return digest

    def get(self, digest: str) -> bytes:
        """The content, checked against its digest."""
        if not _DIGEST.match(digest):
            raise Unreadable(f"{digest!r} is not a sha256 digest")
        try:
            content = self._path(digest).read_bytes()
        except FileNotFoundError:
            raise Unreadable(f"evidence {digest[:12]} is not in {self._folder}") from None
        if hashlib.sha256(content).hexdigest() != digest:
            raise Unreadable(f"evidence {digest[:12]} does not match its digest: it was changed")
        return content

    def _path(self, digest: str) -> Path:
        return self._folder / digest[:2] / digest
