"""Ledger over a folder: one file of hash-chained JSON lines per adapter. The embedded default."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from rollout.core.lifecycle import LedgerEntry, LedgerEvent, next_entry, verify_chain
from rollout.durable import exclusive, sync_folder
from rollout.errors import Busy, LedgerConflict, Unavailable, Usage

_NAME = re.compile(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")


class FolderLedger:
    """`<folder>/<environment>/<name>.jsonl`, appended under a lock and synced before anything builds on it."""

    def __init__(self, folder: Path, environment: str) -> None:
        self._folder = folder / environment

    def read(self, name: str) -> tuple[LedgerEntry, ...]:
        """All entries, verified. A torn last line was never acknowledged, and is passed over."""
        whole, _ = self._split(name)
        entries = tuple(self._parse(name, line, place) for place, line in enumerate(whole))
        verify_chain(entries)
        return entries

    def append(self, name: str, event: LedgerEvent, *, after: str | None) -> LedgerEntry:
        """Add one event behind `after`, on disk before this returns."""
        path = self._path(name)
        with exclusive(path):
            entries = self.read(name)
            last = entries[-1] if entries else None
            head = last.hash if last else None
            if head != after:
                raise LedgerConflict(
                    f"another writer appended to the ledger of {name} first", advice="Run the command again."
                )
            entry = next_entry(last, event)
            try:
                self._write(path, entry, clean=self._split(name)[1])
            except OSError as error:
                raise Unavailable(f"the ledger of {name} cannot be written: {error.strerror}") from error
        return entry

    def names(self) -> tuple[str, ...]:
        """The adapters that have a ledger here."""
        return tuple(sorted(path.stem for path in self._folder.glob("*.jsonl")))

    @contextmanager
    def lease(self, name: str) -> Iterator[None]:
        """Be the only tick. The kernel ends the lease with the process, however that dies."""
        try:
            with exclusive(self._path(name).with_suffix(".tick"), wait_s=0):
                yield
        except Busy:
            raise Busy(
                f"another tick of {name} is running here", advice="Wait for it, or run the command again."
            ) from None

    def _path(self, name: str) -> Path:
        if not _NAME.match(name):
            raise Usage(f"{name!r} is not an adapter name")
        return self._folder / f"{name}.jsonl"

    def _split(self, name: str) -> tuple[list[bytes], int]:
        """(whole lines, length in bytes of all whole lines)."""
        try:
            content = self._path(name).read_bytes()
        except FileNotFoundError:
            return [], 0
        except OSError as error:
            raise Unavailable(f"the ledger of {name} cannot be read: {error.strerror}") from error
        clean = content.rfind(b"\n") + 1
        return content[:clean].splitlines(), clean

    def _parse(self, name: str, line: bytes, place: int) -> LedgerEntry:
        try:
            return LedgerEntry.parse(line.decode())
        except ValueError as error:
            why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else "it is no UTF-8"
            raise LedgerConflict(
                f"line {place + 1} of the ledger of {name} cannot be read: {why}",
                advice="Do not edit the ledger; restore it from its backup.",
            ) from None

    def _write(self, path: Path, entry: LedgerEntry, *, clean: int) -> None:
        new = not path.exists()
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            if os.fstat(handle).st_size > clean:
                os.ftruncate(handle, clean)
            os.lseek(handle, clean, os.SEEK_SET)
            _write_all(handle, entry.line.encode() + b"\n")
            os.fsync(handle)
        finally:
            os.close(handle)
        if new:
            sync_folder(path.parent)


def _write_all(handle: int, content: bytes) -> None:
    """A disk that fills up may take a part and say so only in the number: a part is no entry."""
    while content:
        content = content[os.write(handle, content) :]
