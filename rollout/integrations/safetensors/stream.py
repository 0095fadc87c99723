"""Reads a file once, front to back, and hashes it on the way.

The bytes that are judged are the bytes that are hashed: both come out of one buffer. Hashing has a thread of its
own where that pays (hashlib lets other threads run meanwhile), and stays at most two blocks behind.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import BinaryIO

from rollout.core.adapterfiles import START

BLOCK = 4 << 20
"""How many bytes are read and hashed at a time."""

_BLOCKS = 3


class HashedFile:
    """An open file of known size, its sha256 growing as it is read; `start` are its first bytes."""

    def __init__(self, file: BinaryIO, *, progress: Callable[[int, int], None]) -> None:
        """`file` is unbuffered; `progress` is told how many bytes of how many are read of a large one."""
        self._file = file
        self._progress = progress
        self._sha256 = hashlib.sha256()
        self.size = os.fstat(file.fileno()).st_size
        self._blocks = [bytearray(min(self.size, BLOCK)) for _ in range(_BLOCKS)]
        self._hashing: list[Future[None] | None] = [None] * _BLOCKS
        self._thread = ThreadPoolExecutor(1) if self.size > 2 * BLOCK else None
        self._turn = 0
        self._rest = memoryview(b"")
        self._read = 0
        self.start = b""

    def __enter__(self) -> HashedFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread is not None:
            self._thread.shutdown()

    def exactly(self, count: int) -> memoryview:
        """The next `count` bytes, which stay as they are until the next call.

        Raises ValueError if the file ends before.
        """
        if not self._rest and count:
            self._next()
        if count <= len(self._rest):
            found, self._rest = self._rest[:count], self._rest[count:]
            return found
        return memoryview(self._joined(count))

    def _joined(self, count: int) -> bytearray:
        """Bytes that lie in several blocks, copied together."""
        if count > len(self._rest) + self.size - self._read:
            raise ValueError("the file ends before its tensors do")
        joined, at = bytearray(count), 0
        while at < count:
            if not self._rest:
                self._next()
            piece = self._rest[: count - at]
            joined[at : at + len(piece)] = piece
            self._rest = self._rest[len(piece) :]
            at += len(piece)
        return joined

    def drain(self) -> None:
        """Read and hash what is left. Raises ValueError if the file has another size than when it was opened."""
        while self._read < self.size:
            self._next()
        if self._file.read(1):
            raise ValueError("the file grew while it was read")

    def hexdigest(self) -> str:
        """The sha256 of all bytes read so far."""
        for turn in range(_BLOCKS):
            self._wait(turn)
        return self._sha256.hexdigest()

    def _next(self) -> None:
        """Read the next block into the buffer that was read first."""
        self._turn = (self._turn + 1) % _BLOCKS
        self._wait(self._turn)
        block = memoryview(self._blocks[self._turn])[: self.size - self._read]
        self._fill(block)
        self._read += len(block)
        self.start = self.start or bytes(block[:START])
        self._rest = block
        if self._thread is None:
            self._sha256.update(block)
        else:
            self._hashing[self._turn] = self._thread.submit(self._sha256.update, block)
            self._progress(self._read, self.size)

    def _fill(self, block: memoryview) -> None:
        at = 0
        while at < len(block):
            got = self._file.readinto(block[at:])  # type: ignore[attr-defined]
            if not got:
                raise ValueError("the file shrank while it was read")
            at += got
        if not block:
            raise ValueError("the file ends before its tensors do")

    def _wait(self, turn: int) -> None:
        hashing, self._hashing[turn] = self._hashing[turn], None
        if hashing is not None:
            hashing.result()
