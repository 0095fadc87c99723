"""One file from a source to the disk: in pieces, going on where it broke off, never beyond its limit."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from rollout.errors import Unavailable, Unreadable
from rollout.integrations.sources.answers import NothingLeft
from rollout.ports import ArtifactSource

Progress = Callable[[str, int, int | None], None]
"""Told after each piece: the file's name, its bytes that are here, and its size if that is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a transfer is given, in seconds.

    `stall_s`: silence of a server; `tries`: failures in a row that brought no byte; `first_wait_s`: before the
    second try, doubled each time; `deadline_s`: everything together.
    """

    stall_s: float = 30.0
    tries: int = 5
    first_wait_s: float = 0.5
    deadline_s: float = 3600.0


class Transfer:
    """Everything that is brought for one artifact, until one deadline."""

    def __init__(self, source: ArtifactSource, patience: Patience, progress: Progress) -> None:
        self._source = source
        self._patience = patience
        self._progress = progress
        self._deadline = time.monotonic() + patience.deadline_s

    def bring(self, name: str, part: Path, *, limit: int) -> None:
        """Append what is missing of a file to `part`, which may hold its beginning; bytes are not judged here.

        Raises Unreadable if it is not to be had or larger than `limit` bytes, Unavailable once patience ends,
        and OSError if `part` cannot be written.
        """
        fruitless = 0
        while True:
            before = size_of(part)
            try:
                return self._stream(name, part, before, limit)
            except NothingLeft:
                return None
            except Unavailable as error:
                fruitless = fruitless + 1 if size_of(part) <= before else 0
                self._wait(fruitless, error)

    def _stream(self, name: str, part: Path, offset: int, limit: int) -> None:
        with self._source.open(name, offset) as download:
            size, at = download.size, download.start
            _within(name, size or 0, limit)
            with _appending(part, at) as file:
                for chunk in download.chunks:
                    at += len(chunk)
                    _within(name, at, limit)
                    file.write(chunk)
                    self._progress(name, at, size)
                    if time.monotonic() > self._deadline:
                        raise Unavailable(f"fetching took longer than {self._patience.deadline_s:g} s")
        if size is not None and at < size:
            raise Unavailable(f"{name} broke off after {at} of {size} bytes")

    def _wait(self, fruitless: int, error: Unavailable) -> None:
        seconds = self._patience.first_wait_s * 2.0 ** max(0, fruitless - 1)
        if fruitless >= self._patience.tries or time.monotonic() + seconds > self._deadline:
            raise error
        time.sleep(seconds)


def _within(name: str, size: int, limit: int) -> None:
    if size > limit:
        raise Unreadable(
            f"{name} is larger than the {limit} bytes that are fetched",
            advice="`max_file_bytes` of policies/sources.yaml sets the limit.",
        )


def size_of(part: Path) -> int:
    """Bytes that are here; a file that is not there has none."""
    try:
        return part.lstat().st_size
    except FileNotFoundError:
        return 0


@contextmanager
def _appending(part: Path, start: int) -> Iterator[BinaryIO]:
    """The file, cut to `start` bytes and open for more."""
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    with os.fdopen(handle, "wb") as file:
        file.truncate(start)
        file.seek(start)
        yield file
