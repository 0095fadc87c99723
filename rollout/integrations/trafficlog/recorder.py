"""The writing side: batches on a thread of its own."""

from __future__ import annotations

import dataclasses
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from rollout.core.metric import RequestRecord
from rollout.integrations.trafficlog.schema import BUSY_S, connect, prepare

_FLUSH_S = 0.05
_CAPACITY = 50_000
_ATTEMPTS = 3

_COLUMNS = tuple(field.name for field in dataclasses.fields(RequestRecord))
_INSERT = f"INSERT INTO requests ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608


class TrafficLogRecorder:
    """TrafficRecorder that writes in batches on a thread of its own, at most 50 ms after a request.

    `record` never blocks: beyond `capacity` waiting rows, or when the disk refuses, rows are counted in
    `dropped` and are missing from every metric. Raises MetricsUnavailable if the log cannot be opened.
    """

    def __init__(self, path: Path, *, capacity: int = _CAPACITY) -> None:
        self._path = path
        self._capacity = capacity
        self._waiting: deque[RequestRecord] = deque()
        self._closing = threading.Event()
        self._dropped = 0
        self._error: str | None = None
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

    def record(self, request: RequestRecord) -> None:
        """Take one row, to be written soon."""
        if len(self._waiting) >= self._capacity or self._closing.is_set():
            self._dropped += 1
        else:
            self._waiting.append(request)

    def close(self) -> None:
        """Write what is left and stop."""
        self._closing.set()
        self._thread.join(timeout=2 * BUSY_S)

    def _run(self) -> None:
        connection: sqlite3.Connection | None = None
        while not self._closing.wait(_FLUSH_S) or self._waiting:
            batch = [self._waiting.popleft() for _ in range(len(self._waiting))]
            if batch:
                connection = self._write(connection, batch)
        if connection is not None:
            connection.close()

    def _write(
        self, connection: sqlite3.Connection | None, batch: Sequence[RequestRecord]
    ) -> sqlite3.Connection | None:
        rows = [dataclasses.astuple(record) for record in batch]
        for _ in range(_ATTEMPTS):
            try:
                connection = connection or connect(self._path)
                with connection:
                    connection.execute("BEGIN IMMEDIATE")
                    connection.executemany(_INSERT, rows)
            except sqlite3.Error as error:
                self._error = f"{type(error).__name__}: {error}"
                if connection is not None:
                    connection.close()
                connection = None
                time.sleep(_FLUSH_S)
            except Exception as error:
                # A row that SQLite cannot hold. The thread must live on, or every metric would fall silent.
                self._error = f"{type(error).__name__}: {error}"
                break
            else:
                self._error = None
                return connection
        self._dropped += len(rows)
        return None
