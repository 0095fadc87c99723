"""Where the checked tree comes from, as far as a forge says so: what links and provenance need."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import quote


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """`prefix` leads from the root of the repository to the folder whose manifests were checked.

    `repository` is its URL, `revision` the commit; None where nobody said.
    """

    prefix: PurePosixPath = field(default_factory=PurePosixPath)
    repository: str | None = None
    revision: str | None = None
    branch: str | None = None

    def path(self, file: str) -> str:
        """A checked file, relative to the root of the repository."""
        return str(self.prefix / file)

    def uri(self, file: str) -> str:
        """The same as a relative URI: whatever the name holds, it stays a path."""
        return quote(os.fsencode(self.path(file)))

    def link(self, file: str, line: int | None = None) -> str | None:
        """The URL under which the forge shows the file at the commit, if both are known."""
        if self.repository is None or self.revision is None:
            return None
        at = "" if line is None else f"#L{line}"
        return f"{self.repository}/blob/{quote(self.revision, safe='')}/{self.uri(file)}{at}"


def origin_of(root: Path, environment: Mapping[str, str]) -> Origin:
    """What GitHub Actions says in the environment of a step about the tree at `root`; elsewhere nothing."""
    server, repository = environment.get("GITHUB_SERVER_URL"), environment.get("GITHUB_REPOSITORY")
    workspace = Path(environment.get("GITHUB_WORKSPACE") or root).resolve()
    return Origin(
        prefix=PurePosixPath(root.relative_to(workspace))
        if root.is_relative_to(workspace)
        else PurePosixPath(),
        repository=f"{server}/{repository}" if server and repository else None,
        revision=environment.get("GITHUB_SHA") or None,
        branch=environment.get("GITHUB_REF_NAME") or None,
    )
