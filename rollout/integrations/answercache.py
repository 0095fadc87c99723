"""AnswerCache over one SQLite file: a block of answers is kept whole or not at all."""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from rollout.errors import Unavailable

_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT NOT NULL, origin TEXT NOT NULL, content BLOB NOT NULL, PRIMARY KEY (key, origin)
) WITHOUT ROWID
"""
_RUNNERS: Final = [
    "CI",
    "CONTINUOUS_INTEGRATION",
    "GITHUB_ACTIONS",
    "GITEA_ACTIONS",
    "FORGEJO_ACTIONS",
    "GITLAB_CI",
    "TF_BUILD",
    "BUILDKITE",
    "CIRCLECI",
    "BUILD_ID",
    "BUILD_NUMBER",
    "JENKINS_URL",
    "HUDSON_URL",
    "TEAMCITY_VERSION",
    "BITBUCKET_BUILD_NUMBER",
    "TRAVIS",
    "DRONE",
    "WOODPECKER",
    "APPVEYOR",
    "CODEBUILD_BUILD_ID",
    "SEMAPHORE",
    "bamboo_buildKey",
    "CIRRUS_CI",
    "PROW_JOB_ID",
    "CM_BUILD_ID",
]
_RUNS: Final = {
    "GITHUB_ACTIONS": ("GITHUB_REPOSITORY", "GITHUB_RUN_ID", "GITHUB_RUN_ATTEMPT"),
    "GITLAB_CI": ("CI_PROJECT_ID", "CI_JOB_ID"),
    "BUILDKITE": ("BUILDKITE_JOB_ID",),
    "CIRCLECI": ("CIRCLE_WORKFLOW_JOB_ID",),
    "TF_BUILD": ("SYSTEM_COLLECTIONID", "SYSTEM_JOBID"),
}
"""What names a run, or an attempt of it, once and for all: each service's own numbers or UUIDs."""
_AT_ONCE = 500
_WAIT_S = 30.0


class AnswerFile:
    """Answers of one origin. What another origin wrote into the same file is neither seen nor changed.

    On a CI runner the origin is the attempt of the workflow run: a file that comes from elsewhere, for example out
    of a cache that a pull request could write, answers nothing.
    """

    def __init__(self, path: Path, *, origin: str) -> None:
        self._path = path
        self._origin = origin

    def get(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Those of the keys that are there."""
        found: dict[str, bytes] = {}
        with self._open() as file:
            for start in range(0, len(keys), _AT_ONCE):
                some = keys[start : start + _AT_ONCE]
                marks = ",".join("?" * len(some))
                query = f"SELECT key, content FROM answers WHERE origin = ? AND key IN ({marks})"  # noqa: S608
                found |= dict(file.execute(query, (self._origin, *some)).fetchall())
        return found

    def put(self, records: Mapping[str, bytes]) -> None:
        """Keep all of them or, if the process dies, none; durable when this returns."""
        rows = [(key, self._origin, content) for key, content in records.items()]
        with self._open() as file, file:
            file.execute("BEGIN IMMEDIATE")
            file.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", rows)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with closing(sqlite3.connect(self._path, timeout=_WAIT_S)) as file:
                # The journal stays SQLite's usual one: two that turn a new file to WAL at once do not wait for each
                # other, and one of them fails.
                file.execute("PRAGMA synchronous=FULL")
                file.execute(_SCHEMA)
                yield file
        except (sqlite3.Error, OSError) as error:
            raise Unavailable(
                f"the answers kept in {self._path} cannot be used: {error}",
                advice="Remove the file, or run with --no-cache: every answer is then generated again.",
            ) from error


class NoAnswers:
    """Keeps nothing."""

    def get(self, keys: Sequence[str]) -> dict[str, bytes]:  # noqa: ARG002
        """Nothing."""
        return {}

    def put(self, records: Mapping[str, bytes]) -> None:
        """Forgotten at once."""


def origin_of_this_run() -> str:
    """`local`; on a CI runner the attempt of the workflow run, or else this process alone.

    A runner counts as one by any variable that such services set, and a run has a name only where the service gives
    it one that nobody could write into a file beforehand: a build number is no such name, nor is a process id.
    """
    if not any(os.environ.get(name) for name in _RUNNERS):
        return "local"
    for service, names in _RUNS.items():
        told = [os.environ.get(name, "") for name in names]
        if os.environ.get(service) and all(told):
            return "/".join(["ci", service, *told])
    return f"ci/process/{secrets.token_hex(16)}"
