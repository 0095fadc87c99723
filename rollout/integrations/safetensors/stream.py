"""Reads a file once, front to back, and hashes it on the way.

The bytes that are judged are the bytes that are hashed: both come out of one buffer. Hashing has a thread of its
own where that pays (hashlib lets other threads run meanwhile), and stays at most two buffers behind.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import BinaryIO

from rollout.core.adapterfiles import START

PIECE = 4 << 20
"""How many bytes are read and hashed at a time."""

_THREADED = 8 << 20
_KEPT = 32 << 20


class HashedFile:
    """An open file of known size, its sha256 growing as it is read; `start` are its first bytes."""

    def __init__(self, file: BinaryIO, *, progress: Callable[[int, int], None]) -> None:
        """`file` is unbuffered; `progress` is told how many bytes of how many are read of a large one."""
        self._file = file
        self._progress = progress
        self._sha256 = hashlib.sha256()
        self._buffers = [bytearray(), bytearray()]
        self._hashing: list[Future[None] | None] = [None, None]
        self._slot = 0
        self.size = os.fstat(file.fileno()).st_size
        self.done = 0
        self.start = b""
        self._thread = ThreadPoolExecutor(1) if self.size > _THREADED else None

    def __enter__(self) -> HashedFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread is not None:
            self._thread.shutdown()

    def exactly(self, count: int) -> memoryview:
        """The next `count` bytes, which stay as they are until the call after the next one.

        Raises ValueError if the file ends before.
        """
        content = self._room(count)
        for start in range(0, count, PIECE):
            piece = content[start : start + PIECE]
            self._fill(piece)
            self._hash(piece)
        return content

    def drain(self) -> None:
        """Read and hash what is left. Raises ValueError if the file has another size than when it was opened."""
        while left := self.size - self.done:
            self.exactly(min(left, PIECE))
        if self._file.read(1):
            raise ValueError("the file grew while it was read")

    def hexdigest(self) -> str:
        """The sha256 of all bytes read so far."""
        for slot in (0, 1):
            self._wait(slot)
        return self._sha256.hexdigest()

    def _room(self, count: int) -> memoryview:
        """A buffer that nobody hashes any more. A large one is alone, and not kept."""
        self._slot = 1 - self._slot
        self._wait(self._slot)
        if max(count, len(self._buffers[self._slot])) > _KEPT:
            self._wait(1 - self._slot)
            self._buffers = [bytearray(), bytearray()]
        if len(self._buffers[self._slot]) < count:
            self._buffers[self._slot] = bytearray(count)
        return memoryview(self._buffers[self._slot])[:count]

    def _fill(self, piece: memoryview) -> None:
        at = 0
        while at < len(piece):
            got = self._file.readinto(piece[at:])  # type: ignore[attr-defined]
            if not got:
                raise ValueError("the file ended while it was read")
            at += got
        if self.done < START:
            self.start += bytes(piece[: START - self.done])
        self.done += len(piece)
        if self._thread is not None:
            self._progress(self.done, self.size)

    def _hash(self, piece: memoryview) -> None:
        if self._thread is None:
            self._sha256.update(piece)
        else:
            self._hashing[self._slot] = self._thread.submit(self._sha256.update, piece)

    def _wait(self, slot: int) -> None:
        hashing, self._hashing[slot] = self._hashing[slot], None
        if hashing is not None:
            hashing.result()
