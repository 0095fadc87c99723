"""Ledger over a folder: one file of hash-chained JSON lines per adapter. The embedded default."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path, PurePath

from rollout.core.lifecycle import Anchored, LedgerEntry, LedgerEvent, next_entry, verify_chain
from rollout.durable import exclusive, replace, sync_file, sync_folder
from rollout.errors import LedgerConflict, Unavailable
from rollout.integrations.ledger.folds import Folded, Folds, Read
from rollout.integrations.ledger.lines import (
    NO_LEDGER,
    chained,
    is_name,
    lease,
    parse,
    require_anchor,
    require_last,
    require_name,
    require_size,
    shown,
)
from rollout.integrations.ledger.seal import Seal

_BLOCK = 1 << 16


class FolderLedger:
    """`<folder>/<environment>/<name>.jsonl`, appended under a lock and synced before anything builds on it."""

    def __init__(self, folder: Path, environment: str, *, seal: Seal | None = None) -> None:
        self._folder = folder / environment
        self._environment = environment
        self._seal = seal or Seal()

    def read(self, name: str) -> tuple[LedgerEntry, ...]:
        """All entries, verified. A torn last line was never acknowledged, and is passed over."""
        entries = self._entries(name)
        self._seal.check(entries, name=name)
        return entries

    def read_all(self) -> Iterator[Read]:
        """One ledger after the other; a broken one is given as what is wrong with it."""
        return self._read_each(self.names())

    def states(self) -> Iterator[Folded]:
        """What each ledger led to; one whose file is what it was is not read again."""
        marks = {name: self._mark(name) for name in self.names()}
        return Folds(self._folder / ".folds.json", seal=self._seal).states(marks, self._read_each)

    def _read_each(self, names: Sequence[str]) -> Iterator[Read]:
        for name in names:
            try:
                yield name, self.read(name)
            except LedgerConflict as error:
                yield name, error

    def _mark(self, name: str) -> str:
        try:
            found = self._path(name).stat()
        except OSError as error:
            raise Unavailable(f"the ledger of {name} cannot be read: {error.strerror}") from error
        return f"{found.st_ino} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"

    def verify(self, name: str, *, before: tuple[LedgerEntry, ...] = ()) -> tuple[LedgerEntry, ...]:
        """All entries behind those `before`, with every signature verified."""
        entries = (*before, *self._entries(name))
        verify_chain(entries)
        self._seal.check_all(entries, name=name)
        return entries

    def append(self, name: str, event: LedgerEvent, *, after: str | None) -> LedgerEntry:
        """Add one event behind `after`, on disk before this returns. The time that it takes is constant in history."""
        path = self._path(name)
        with exclusive(path):
            last, clean = self._last(name)
            require_last(name, last, after)
            entry = require_size(self._seal.sign(next_entry(last, event)))
            try:
                _write(path, entry, clean=clean)
            except OSError as error:
                raise Unavailable(f"the ledger of {name} cannot be written: {error.strerror}") from error
        return entry

    def anchor(self, name: str, event: Anchored, *, after: str) -> LedgerEntry:
        """Put one entry in the place of all others, whole or not at all."""
        path = self._path(name)
        with exclusive(path) as target:
            last, _ = self._last(name)
            require_last(name, last, after)
            require_anchor(event, last)
            entry = require_size(self._seal.sign(next_entry(last, event)))
            try:
                replace(target, entry.line.encode() + b"\n")
            except OSError as error:
                raise Unavailable(f"the ledger of {name} cannot be written: {error.strerror}") from error
        return entry

    def names(self) -> tuple[str, ...]:
        """The adapters that have a ledger here."""
        return tuple(sorted(path.stem for path in self._folder.glob("*.jsonl") if is_name(path.stem)))

    def strays(self) -> dict[str, str]:
        """Files that are called as ledgers are, but for no adapter."""
        found = (path.name for path in self._folder.glob("*.jsonl") if not is_name(path.stem))
        return {shown(PurePath(self._folder.name, name)): NO_LEDGER for name in sorted(found)}

    def still(self) -> FolderLedger:
        """The same: each of its reads is of one moment, and costs nobody else anything."""
        return self

    def lease(self, name: str) -> AbstractContextManager[None]:
        """Be the only tick."""
        return lease(self._folder, name)

    def torn(self, name: str) -> bytes:
        """What stands behind the last whole line: what a writer left that died, and nobody was told of."""
        content = self._content(name)
        return content[content.rfind(b"\n") + 1 :]

    def cut(self, name: str, now: datetime) -> Path | None:
        """Cut a torn last line off, and keep it beside the ledger. The answer is where; None if none is torn."""
        path = self._path(name)
        with exclusive(path) as target:
            torn = self.torn(name)
            if not torn:
                return None
            kept = target.with_name(f"{target.name}.torn-{now:%Y%m%dT%H%M%S%f}")
            try:
                replace(kept, torn)
                os.truncate(target, target.stat().st_size - len(torn))
                sync_file(target)
            except OSError as error:
                raise Unavailable(f"the ledger of {name} cannot be written: {error.strerror}") from error
            return kept

    def _path(self, name: str) -> Path:
        return self._folder / f"{require_name(name)}.jsonl"

    def _entries(self, name: str) -> tuple[LedgerEntry, ...]:
        """All whole lines, in one chain."""
        whole = self._content(name).split(b"\n")[:-1]
        place = str(self._path(name))
        entries = parse(whole, name=name, environment=self._environment, place=place)
        return chained(entries, lambda number: f"{place}, line {number + 1}")

    def _content(self, name: str) -> bytes:
        try:
            return self._path(name).read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise Unavailable(f"the ledger of {name} cannot be read: {error.strerror}") from error

    def _last(self, name: str) -> tuple[LedgerEntry | None, int]:
        """(last whole entry, length in bytes of all whole lines), from the end of the file."""
        path = self._path(name)
        try:
            with path.open("rb") as file:
                line, clean = _last_line(file.fileno())
        except FileNotFoundError:
            return None, 0
        except OSError as error:
            raise Unavailable(f"the ledger of {name} cannot be read: {error.strerror}") from error
        if line is None:
            return None, 0
        return parse([line], name=name, environment=self._environment, place=f"{path}, the last")[0], clean


def _last_line(handle: int) -> tuple[bytes | None, int]:
    """(last line that has an end, where it ends), or (None, 0)."""
    start = size = os.fstat(handle).st_size
    while start > 0:
        start = max(0, start - _BLOCK)
        tail = os.pread(handle, size - start, start)
        end = tail.rfind(b"\n")
        begin = tail.rfind(b"\n", 0, max(end, 0))
        if end >= 0 and (begin >= 0 or start == 0):
            return tail[begin + 1 : end], start + end + 1
    return None, 0


def _write(path: Path, entry: LedgerEntry, *, clean: int) -> None:
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
