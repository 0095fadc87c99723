"""The log's file as it is written: one connection, one transaction a batch, and what it lets go of between them."""

from __future__ import annotations

import dataclasses
import sqlite3
import time
from collections.abc import Sequence
from math import inf
from operator import attrgetter
from pathlib import Path

from rollout.core.metric import Feedback, RequestRecord, Texts
from rollout.errors import MetricsUnavailable
from rollout.integrations.trafficlog.retention import Retention
from rollout.integrations.trafficlog.schema import connect, prepare

_LARGEST_WAL = 64 * 1024 * 1024
_PRUNED_AT_ONCE = 80
_PRUNE_S = 1.0
_ANEW_S = 2.5
"""How long a removed log stays away: every gateway that wrote it has noticed, and let go, before one makes it anew."""
_LOG_IS_AWAY = (OSError, sqlite3.OperationalError, MetricsUnavailable)
"""Locked, full, gone: it may come back, and the rows wait for it."""

_COLUMNS = tuple(field.name for field in dataclasses.fields(RequestRecord))
_VALUES = attrgetter(*_COLUMNS)
_INSERT = f"INSERT INTO requests ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608
_KEEP_TEXTS = "INSERT OR IGNORE INTO texts VALUES (?, ?, ?)"
_TELL = """
INSERT INTO feedback (request_id, at, thumbs, score, conversion, behind)
SELECT ?, ?, ?, ?, ?, 1 + coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'requests'), 0)
"""
_TOLD = attrgetter("request_id", "at", "thumbs", "score", "conversion")

Row = tuple[RequestRecord, Texts | None]


@dataclasses.dataclass(frozen=True, slots=True)
class Lost:
    """How many rows, and how much feedback, a log cannot hold."""

    rows: int
    feedback: int


class LogFile:
    """Writes batches, on one thread. `error` says why the last could not be written; None if it was.

    A log that was deleted is made anew: rows in a deleted file would be seen by nobody. SQLite finds what belongs
    to a file by its name, so that a neighbour that still has the old one open would spoil the new one.
    """

    def __init__(self, path: Path, retention: Retention | None) -> None:
        self.error: str | None = None
        self._path = path
        self._retention = retention
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._prune_at = 0.0
        self._anew_at = 0.0

    @property
    def away_s(self) -> float:
        """How long from now a log that was removed still stays away."""
        return max(0.0, self._anew_at - time.monotonic())

    def look(self) -> None:
        """Let go of a file that was removed or replaced."""
        try:
            moved = self._connection is not None and self._file != _identity(self._path)
        except OSError as error:
            self._note(error)
            return
        if moved:
            self.close()
            self._anew_at = time.monotonic() + _ANEW_S

    def write(self, rows: Sequence[Row], told: Sequence[Feedback]) -> Lost | None:
        """Write in one transaction; the answer is what SQLite cannot hold, or None if all must wait."""
        try:
            lost = self._write(rows, told)
        except _LOG_IS_AWAY as error:
            self._note(error)
            return None
        except Exception as error:
            # Whoever writes must live on, or every metric would fall silent.
            self._note(error)
            return Lost(len(rows), len(told))
        if not (lost.rows or lost.feedback):
            self.error = None
        return lost

    def prune(self) -> None:
        """Let go of the oldest rows, if it is time to look for some, or the file is full."""
        now = time.monotonic()
        if self._retention is None or now < self._prune_at:
            return
        try:
            connection = self._connected()
            more = True
            for _ in range(_PRUNED_AT_ONCE):
                more = more and self._retention.prune(connection, time.time())
        except Exception as error:
            self._note(error)
            more = False
        self._prune_at = now if more else now + _PRUNE_S

    def close(self) -> None:
        """Close it; to be called on the thread that wrote."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _write(self, rows: Sequence[Row], told: Sequence[Feedback]) -> Lost:
        connection = self._connected()
        self._bound_wal(connection)
        texts = [
            (record.request_id, _storable(kept.request), _storable(kept.answer))
            for record, kept in rows
            if kept is not None
        ]
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            lost = self._put(connection, _INSERT, [_row(record) for record, _ in rows])
            self._put(connection, _KEEP_TEXTS, texts)
            return Lost(lost, self._put(connection, _TELL, [_TOLD(one) for one in told]))

    def _put(self, connection: sqlite3.Connection, sql: str, values: Sequence[Sequence[object]]) -> int:
        lost = 0
        for each in values:
            try:
                connection.execute(sql, each)
            except _LOG_IS_AWAY:
                raise
            except Exception as error:
                self._note(error)
                lost += 1
        return lost

    def _note(self, error: Exception) -> None:
        self.error = f"{type(error).__name__}: {error}"
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            self._prune_at = 0.0

    def _bound_wal(self, connection: sqlite3.Connection) -> None:
        """A reader that never ends keeps the write-ahead log from being emptied; it must not fill the disk."""
        wal = self._path.with_name(f"{self._path.name}-wal")
        if wal.is_file() and wal.stat().st_size > _LARGEST_WAL:
            (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if busy:
                raise sqlite3.OperationalError("a reader has held the log for too long")

    def _connected(self) -> sqlite3.Connection:
        if self._connection is not None and self._file == _identity(self._path):
            return self._connection
        self.look()
        if self.away_s:
            raise sqlite3.OperationalError("the log was removed; it is made anew in a moment")
        prepare(self._path)
        self._connection = connect(self._path)
        if self._retention is not None:
            self._retention.limit(self._connection)
        self._file = _identity(self._path)
        return self._connection


def _row(record: RequestRecord) -> Sequence[object]:
    """Its values. SQLite would make nothing of what is no number, and nothing is no time that went wrong."""
    return [-inf if value != value else value for value in _VALUES(record)]


def _storable(text: str) -> str:
    """Half of a surrogate pair, which JSON can write and UTF-8 cannot, becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
