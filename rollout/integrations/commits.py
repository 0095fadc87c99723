"""What git tells of single commits of a clone."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime

from rollout.core.traces import Commit
from rollout.errors import Unavailable, Unreadable

_ID = re.compile(r"[0-9a-f]{40}")
_LONGEST_MESSAGE = 20_000
_FORMAT = "--format=%H%x00%an%x00%ct%x00%B"

Run = Callable[..., bytes]
"""Runs git in the clone with these words; raises Unavailable."""


class GitCommits:
    """CommitLog of a clone, by whatever runs git there. Nothing is fetched."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def commit(self, commit: str) -> Commit:
        """One commit. Raises Unreadable for what is no whole id, no commit of this clone, or has no time."""
        if not _ID.fullmatch(commit):
            raise Unreadable(f"{commit[:60]!r} is no whole id of a commit")
        try:
            told = self._run(
                "show",
                "--no-patch",
                "--no-notes",
                "--no-show-signature",
                _FORMAT,
                f"{commit}^{{commit}}",
                "--",
            )
        except Unavailable as error:
            raise Unreadable(
                f"commit {commit[:12]} is not in this clone", advice="Fetch it: `git fetch origin`."
            ) from error
        whole, author, at, message = told.decode(errors="replace").split("\0", 3)
        try:
            moment = datetime.fromtimestamp(int(at), UTC)
        except (ValueError, OverflowError, OSError) as error:
            raise Unreadable(f"commit {commit[:12]} says {at[:40]!r} for its time") from error
        return Commit(
            id=whole.strip(),
            author=author,
            at=moment,
            message=message.strip()[:_LONGEST_MESSAGE],
        )
