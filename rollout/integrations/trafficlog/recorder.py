"""The writing side: batches on a thread of its own."""

from __future__ import annotations

import dataclasses
import sqlite3
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from rollout.core.metric import Feedback, RequestRecord, Texts
from rollout.errors import MetricsUnavailable
from rollout.integrations.trafficlog.schema import BUSY_S, connect, prepare

_FLUSH_S = 0.05
_CAPACITY = 50_000
_LAST_ATTEMPTS = 2
_LOG_IS_AWAY = (OSError, sqlite3.OperationalError, MetricsUnavailable)
"""Locked, full, gone: it may come back, and the rows wait for it."""

_COLUMNS = tuple(field.name for field in dataclasses.fields(RequestRecord))
_INSERT = f"INSERT INTO requests ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608


class TrafficLogRecorder:
    """TrafficRecorder that writes in batches on a thread of its own, at most 50 ms after a request.

    `record` never blocks. While the log is locked, full or gone, rows wait; a log that was deleted is made anew.
    Rows beyond `capacity` waiting ones, and those that SQLite cannot hold, are counted in `dropped` and are
    missing from every metric. Raises MetricsUnavailable if the log cannot be opened.
    """

    def __init__(self, path: Path, *, capacity: int = _CAPACITY) -> None:
        self._path = path
        self._capacity = capacity
        self._waiting: deque[RequestRecord] = deque()
        self._closing = threading.Event()
        self._dropped = 0
        self._error: str | None = None
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self.salt = prepare(path)
        """Random, one a log: what keys are hashed with before they are recorded."""
        self._thread = threading.Thread(target=self._run, name="traffic log", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Rows that were lost so far."""
        return self._dropped

    @property
    def error(self) -> str | None:
        """Why the last batch could not be written; None if it was."""
        return self._error

    def tell(self, feedback: Feedback) -> None:
        """Take what was said of an answer."""
        raise NotImplementedError

    def record(self, request: RequestRecord, texts: Texts | None = None) -> None:  # noqa: ARG002
        """Take one row, to be written soon."""
        if len(self._waiting) >= self._capacity or self._closing.is_set():
            self._dropped += 1
        else:
            self._waiting.append(request)

    def close(self) -> None:
        """Write what is left and stop."""
        self._closing.set()
        self._thread.join(timeout=_LAST_ATTEMPTS * BUSY_S + 1)

    def _run(self) -> None:
        last_attempts = _LAST_ATTEMPTS
        while not self._closing.wait(_FLUSH_S) or (self._waiting and last_attempts):
            last_attempts -= self._closing.is_set()
            batch = [self._waiting.popleft() for _ in range(len(self._waiting))]
            if batch and not self._write(batch):
                self._waiting.extendleft(reversed(batch))
        self._dropped += len(self._waiting)
        self._disconnect()

    def _write(self, batch: Sequence[RequestRecord]) -> bool:
        """Write the batch; the answer is whether it is off our hands."""
        try:
            connection = self._connected()
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany(_INSERT, [dataclasses.astuple(record) for record in batch])
        except Exception as error:
            self._error = f"{type(error).__name__}: {error}"
            if isinstance(error, _LOG_IS_AWAY):
                return False
            # A row that SQLite cannot hold. The thread must live on, or every metric would fall silent.
            self._dropped += len(batch)
        else:
            self._error = None
        return True

    def _connected(self) -> sqlite3.Connection:
        """The connection, to the file that has the log's name now: rows in a deleted one would be seen by nobody."""
        if self._connection is not None and self._file == _identity(self._path):
            return self._connection
        self._disconnect()
        prepare(self._path)
        self._connection = connect(self._path)
        self._file = _identity(self._path)
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
