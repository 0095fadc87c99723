"""A passing repository beside a clone: it takes from a remote only what is asked for, and the clone nothing at all.

Contents that are not here would make the clone's own `git gc` fail, and a depth would cut off its history: so that
neither is ever the clone's. It lasts as long as its process.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

from rollout.errors import Unavailable
from rollout.orphan.objects import Git

_PREFIX = "evidence-"
_LEFT_AFTER_S = 86_400.0
# How a remote is reached, of what a clone's own configuration says. Whatever stands elsewhere is read there.
_WAYS = ("url.", "http.", "credential.", "ssh.", "protocol.", "gitproxy.")
_WAYS_OF_CORE = frozenset({"core.sshcommand", "core.gitproxy", "core.askpass"})
_WAYS_OF_REMOTE = frozenset(
    {"url", "pushurl", "proxy", "proxyauthmethod", "uploadpack", "receivepack", "serveroption", "vcs"}
)
_REACHING = frozenset({"fetch", "push", "ls-remote"})
# Nobody packs what is gone in a moment, and a remote is not told of commits that it cannot know.
_CALM = (("gc.auto", "0"), ("maintenance.auto", "false"), ("fetch.negotiationalgorithm", "noop"))
_MINE = frozenset({"local", "worktree"})


class PartialRepository:
    """Git in a repository of its own, which reaches a remote as the clone does: same address, same credentials.

    Objects that are elsewhere are missing here, and are fetched by nobody but who asks for them.
    """

    def __init__(self, git: Git, root: Path, remote: str) -> None:
        self._git = git
        self._root = root
        self._remote = remote

    def run(
        self, *words: str, content: bytes | None = None, environment: Mapping[str, str] | None = None
    ) -> bytes:
        """What a command prints. Raises Unavailable where it fails."""
        ways = {} if _REACHING.isdisjoint(words) else self._ways
        told = {**(environment or {}), **ways, "GIT_DIR": self._folder.name}
        return self._git.run(*words, content=content, environment=told)

    @cached_property
    def _folder(self) -> TemporaryDirectory[str]:
        """In the clone's own git folder, so that what is configured for its place holds here too."""
        place = self._root / os.fsdecode(self._git.run("rev-parse", "--git-path", "rollout")).rstrip("\n")
        place.mkdir(parents=True, exist_ok=True)
        _sweep(place)
        folder = TemporaryDirectory(prefix=_PREFIX, dir=place.resolve(), ignore_cleanup_errors=True)
        form = self._git.run("rev-parse", "--show-object-format").decode().strip()
        self._git.run("init", "--quiet", "--bare", "--template=", f"--object-format={form}", folder.name)
        return folder

    @cached_property
    def _ways(self) -> dict[str, str]:
        """Settings as variables: what is on a command line, everybody on the machine can read."""
        settings = [*self._configured(), *_CALM, (f"remote.{self._remote}.promisor", "true")]
        settings.append((f"remote.{self._remote}.partialclonefilter", "blob:none"))
        first = os.environ.get("GIT_CONFIG_COUNT", "")
        begin = int(first) if first.isdigit() else 0
        ways = {"GIT_CONFIG_COUNT": str(begin + len(settings))}
        for number, (key, value) in enumerate(settings, begin):
            ways |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
        return ways

    def _configured(self) -> Iterator[tuple[str, str]]:
        words = iter(os.fsdecode(self._git.run("config", "--list", "-z", "--show-scope")).split("\0"))
        for scope, setting in zip(words, words, strict=False):
            key, _, value = setting.partition("\n")
            if scope in _MINE and self._is_way(key):
                yield key, value if "\n" in setting else "true"

    def _is_way(self, key: str) -> bool:
        mine = f"remote.{self._remote}."
        if key.startswith(mine):
            return key.removeprefix(mine) in _WAYS_OF_REMOTE
        return key.startswith(_WAYS) or key in _WAYS_OF_CORE


def _sweep(place: Path) -> None:
    """Remove what killed processes have left."""
    for folder in place.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime > _LEFT_AFTER_S:
                shutil.rmtree(folder, ignore_errors=True)


def is_here(git: Git, object_id: str) -> bool:
    """Whether an object is in the repository."""
    try:
        git.run("cat-file", "-e", object_id)
    except Unavailable:
        return False
    return True
