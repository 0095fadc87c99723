"""The writing side: batches on a thread of its own."""

from __future__ import annotations

import dataclasses
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path

from rollout.core.metric import Feedback, RequestRecord, Texts
from rollout.errors import MetricsUnavailable
from rollout.integrations.trafficlog.retention import Retention
from rollout.integrations.trafficlog.schema import BUSY_S, connect, prepare

_FLUSH_S = 0.05
_CAPACITY = 50_000
_BATCH = 1000
_LARGEST_TEXT = 256 * 1024
_LARGEST_TEXTS = 64 * 1024 * 1024
_TEXTS_A_BATCH = 1024 * 1024
_LARGEST_WAL = 64 * 1024 * 1024
_PRUNED_AT_ONCE = 80
_PRUNE_S = 1.0
_LAST_ATTEMPTS = 2
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

_Row = tuple[RequestRecord, Texts | None]


class TrafficLogRecorder:
    """TrafficRecorder that writes in batches on a thread of its own, at most 50 ms after a request.

    `record` and `tell` never block. While the log is locked, full or gone, rows wait; a log that was deleted is
    made anew. Rows beyond `capacity` waiting ones, and those that SQLite cannot hold, are counted in `dropped` and
    are missing from every metric; texts that are too large, or too many to wait, and feedback beyond a tenth of
    the capacity are counted by themselves. Between batches the oldest rows go, as `retention` says; without one
    nothing does. Raises MetricsUnavailable if the log cannot be opened.
    """

    def __init__(self, path: Path, *, capacity: int = _CAPACITY, retention: Retention | None = None) -> None:
        self._path = path
        self._capacity = capacity
        self._retention = retention
        self._rows: deque[_Row] = deque()
        self._told: deque[Feedback] = deque()
        self._texts_waiting = 0
        self._closing = threading.Event()
        self._dropped = self._dropped_texts = self._dropped_feedback = 0
        self._error: str | None = None
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._prune_at = 0.0
        self.salt = prepare(path)
        """Random, one a log: what keys are hashed with before they are recorded."""
        self._thread = threading.Thread(target=self._run, name="traffic log", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Rows that were lost so far."""
        return self._dropped

    @property
    def dropped_texts(self) -> int:
        """Texts that were to be kept and were not, though their rows may be there."""
        return self._dropped_texts

    @property
    def dropped_feedback(self) -> int:
        """Feedback that was lost so far."""
        return self._dropped_feedback

    @property
    def error(self) -> str | None:
        """Why the last batch could not be written; None if it was."""
        return self._error

    def record(self, request: RequestRecord, texts: Texts | None = None) -> None:
        """Take one row, to be written soon, with its texts."""
        if len(self._rows) >= self._capacity or self._closing.is_set():
            self._dropped += 1
            self._dropped_texts += texts is not None
            return
        self._rows.append((request, self._fitting(texts)))

    def tell(self, feedback: Feedback) -> None:
        """Take what was said of an answer, to be written soon."""
        if len(self._told) >= max(1, self._capacity // 10) or self._closing.is_set():
            self._dropped_feedback += 1
        else:
            self._told.append(feedback)

    def close(self) -> None:
        """Write what is left and stop."""
        self._closing.set()
        self._thread.join(timeout=_LAST_ATTEMPTS * BUSY_S + 1)

    def _fitting(self, texts: Texts | None) -> Texts | None:
        if texts is None:
            return None
        size = _size(texts)
        too_large = max(len(texts.request), len(texts.answer)) > _LARGEST_TEXT
        if too_large or self._texts_waiting + size > _LARGEST_TEXTS:
            self._dropped_texts += 1
            return None
        self._texts_waiting += size
        return texts

    def _run(self) -> None:
        last_attempts = _LAST_ATTEMPTS
        while not self._closing.wait(_FLUSH_S) or ((self._rows or self._told) and last_attempts):
            last_attempts -= self._closing.is_set()
            self._flush()
        self._dropped += len(self._rows)
        self._dropped_feedback += len(self._told)
        self._disconnect()

    def _flush(self) -> None:
        """Write whatever waits now, and let go of the oldest rows between batches, for they may need the room."""
        written = True
        while written and (self._rows or self._told):
            rows = self._next_rows()
            told = [self._told.popleft() for _ in range(min(len(self._told), _BATCH))]
            written = self._write(rows, told)
            if written:
                self._texts_waiting -= sum(_size(texts) for _, texts in rows if texts is not None)
            else:
                self._rows.extendleft(reversed(rows))
                self._told.extendleft(reversed(told))
            self._prune()
        self._prune()

    def _next_rows(self) -> list[_Row]:
        rows: list[_Row] = []
        size = 0
        while self._rows and len(rows) < _BATCH and size < _TEXTS_A_BATCH:
            rows.append(self._rows.popleft())
            texts = rows[-1][1]
            size += 0 if texts is None else _size(texts)
        return rows

    def _write(self, rows: Sequence[_Row], told: Sequence[Feedback]) -> bool:
        """Write a batch; the answer is whether it is off our hands."""
        try:
            lost = self._insert(rows, told)
        except _LOG_IS_AWAY as error:
            self._note(error)
            return False
        except Exception as error:
            # The thread must live on, or every metric would fall silent.
            self._note(error)
            lost = len(rows), len(told)
        else:
            self._error = self._error if any(lost) else None
        self._dropped += lost[0]
        self._dropped_feedback += lost[1]
        return True

    def _note(self, error: Exception) -> None:
        self._error = f"{type(error).__name__}: {error}"
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            self._prune_at = 0.0

    def _insert(self, rows: Sequence[_Row], told: Sequence[Feedback]) -> tuple[int, int]:
        """Write in one transaction; the answer is how many rows and how much feedback SQLite cannot hold."""
        connection = self._connected()
        self._bound_wal(connection)
        texts = [
            (record.request_id, _storable(kept.request), _storable(kept.answer))
            for record, kept in rows
            if kept is not None
        ]
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            lost = self._put(connection, _INSERT, [_VALUES(record) for record, _ in rows])
            self._put(connection, _KEEP_TEXTS, texts)
            return lost, self._put(connection, _TELL, [_TOLD(one) for one in told])

    def _put(self, connection: sqlite3.Connection, sql: str, values: Sequence[tuple[object, ...]]) -> int:
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

    def _bound_wal(self, connection: sqlite3.Connection) -> None:
        """A reader that never ends keeps the write-ahead log from being emptied; it must not fill the disk."""
        wal = self._path.with_name(f"{self._path.name}-wal")
        if wal.is_file() and wal.stat().st_size > _LARGEST_WAL:
            (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if busy:
                raise sqlite3.OperationalError("a reader has held the log for too long")

    def _prune(self) -> None:
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
            self._prune_at = now + _PRUNE_S
        else:
            self._prune_at = now if more else now + _PRUNE_S

    def _connected(self) -> sqlite3.Connection:
        """The connection, to the file that has the log's name now: rows in a deleted one would be seen by nobody."""
        if self._connection is not None and self._file == _identity(self._path):
            return self._connection
        self._disconnect()
        prepare(self._path)
        self._connection = connect(self._path)
        if self._retention is not None:
            self._retention.limit(self._connection)
        self._file = _identity(self._path)
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _size(texts: Texts) -> int:
    return len(texts.request) + len(texts.answer)


def _storable(text: str) -> str:
    """Half of a surrogate pair, which JSON can write and UTF-8 cannot, becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
