"""A branch where everybody sees it: asked for, fetched, and moved forward, never back."""

from __future__ import annotations

import os
import random
import re
import time
from contextlib import suppress
from pathlib import Path

from rollout.errors import RemoteUnavailable, Unavailable
from rollout.orphan.objects import Git

_STALE_AFTER_S = 5.0
_ATTEMPTS = 4
# A server that sends nothing for a minute is away; nobody is asked for a password.
_PATIENCE = {"GIT_HTTP_LOW_SPEED_LIMIT": "1000", "GIT_HTTP_LOW_SPEED_TIME": "60"}
_QUIETLY = (
    *("--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules"),
    "--refmap=",  # Only what is asked for: no reference of the user's moves.
)
_REFUSED = re.compile(r"(?m)^ ! (\[(?:remote )?rejected\].*)$")


class Branch:
    """A branch of a remote, or of this very repository where `remote` is None. `what` is on it, for advice."""

    def __init__(self, git: Git, root: Path, *, branch: str, remote: str | None, what: str) -> None:
        self._git = git
        self._root = root
        self._what = what
        self.remote = remote
        self.reference = f"refs/heads/{branch}"

    def __str__(self) -> str:
        return self.reference + (f" at {self.remote}" if self.remote else "")

    def ask(self) -> str | None:
        """The commit that it is at, at the remote; None if there is no such branch. Raises RemoteUnavailable."""
        assert self.remote is not None
        words = ("ls-remote", "--quiet", self.remote, self.reference)
        try:
            answer = self._git.run(*words, environment=_PATIENCE)
        except Unavailable as error:
            raise self._away("reading", error) from None
        lines = (line.split("\t") for line in answer.decode(errors="replace").splitlines())
        return next((commit for commit, *names in lines if names == [self.reference]), None)

    def fetch(self, *extent: str, into: str = "") -> None:
        """Bring it here, as far as words for `git fetch` say. Raises RemoteUnavailable."""
        self.bring(f"+{self.reference}:{into}" if into else self.reference, *extent)

    def bring(self, wanted: str, *extent: str) -> None:
        """Bring what a refspec or the id of an object names. Raises RemoteUnavailable."""
        assert self.remote is not None
        try:
            self._git.run("fetch", *_QUIETLY, *extent, self.remote, wanted, environment=_PATIENCE)
        except Unavailable as error:
            raise self._away("fetching", error) from None

    def move(self, commit: str, tip: str | None) -> str | None:
        """Move it from `tip` to `commit`; the answer is why that did not happen, None if it did.

        Raises RemoteUnavailable where the remote gives no answer: then nobody knows what became of it.
        """
        if self.remote is None:
            return self.set(self.reference, commit, (tip or "0" * len(commit),))
        try:
            words = ("push", "--no-verify", self.remote, f"{commit}:{self.reference}")
            self._git.run(*words, environment=_PATIENCE)
        except Unavailable as error:
            if refused := _REFUSED.search(_told(error)):
                return refused[1]
            raise self._away("pushing to", error) from None
        return None

    def resolve(self, name: str) -> str | None:
        """The commit that a name stands for in this clone."""
        try:
            words = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
            return self._git.run(*words).decode().strip()
        except Unavailable:
            return None

    def set(self, reference: str, commit: str, expected: tuple[str, ...] = ()) -> str | None:
        """Move a reference of this clone, if it is where it is `expected`; the answer is why it was not."""
        refused = None
        for _ in range(_ATTEMPTS):
            try:
                self._git.run("-c", "core.fsync=reference", "update-ref", reference, commit, *expected)
            except Unavailable as error:
                refused = getattr(error, "reason", str(error))
                if "File exists" not in _told(error):
                    return refused
                self._outlast_lock(reference)
            else:
                return None
        return refused

    def in_git_folder(self, name: str) -> Path:
        """Where git keeps a file of that name."""
        return self._root / os.fsdecode(self._git.run("rev-parse", "--git-path", name)).rstrip("\n")

    def _outlast_lock(self, reference: str) -> None:
        """A reference is locked for milliseconds; what a killed git has left is removed."""
        lock = self.in_git_folder(f"{reference}.lock")
        with suppress(OSError):
            if time.time() - lock.stat().st_mtime > _STALE_AFTER_S:
                lock.unlink()
        time.sleep(random.uniform(0.01, 0.1))  # noqa: S311 - jitter

    def _away(self, doing: str, error: Unavailable) -> RemoteUnavailable:
        reason = getattr(error, "reason", str(error))
        return RemoteUnavailable(
            f"{doing} {self} failed: {reason}",
            advice=f"The {self._what} is at the remote. Check the network and the right to push there, and run it again.",
        )


def _told(error: Unavailable) -> str:
    return f"{error} {getattr(error, 'stderr', '')}"
