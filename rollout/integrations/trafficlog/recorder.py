"""The writing side: what waits, and a thread of its own that writes it in batches."""

from __future__ import annotations

import threading
import time
from collections import deque
from pathlib import Path

from rollout.core.metric import Feedback, RequestRecord, Texts
from rollout.integrations.trafficlog.logfile import LogFile, Row
from rollout.integrations.trafficlog.retention import Retention
from rollout.integrations.trafficlog.schema import BUSY_S, prepare

_FLUSH_S = 0.05
_CAPACITY = 50_000
_BATCH = 1000
_LARGEST_TEXT = 256 * 1024
_LARGEST_TEXTS = 64 * 1024 * 1024
_TEXTS_A_BATCH = 1024 * 1024
_LAST_ATTEMPTS = 2


class TrafficLogRecorder:
    """TrafficRecorder that writes in batches on a thread of its own, at most 50 ms after a request.

    `record` and `tell` never block. While the log is locked, full or gone, rows wait; a log that was deleted is
    made anew. Rows beyond `capacity` waiting ones, and those that SQLite cannot hold, are counted in `dropped` and
    are missing from every metric; texts that are too large, or too many to wait, and feedback beyond a tenth of
    the capacity are counted by themselves. Between batches the oldest rows go, as `retention` says; without one
    nothing does. Raises MetricsUnavailable if the log cannot be opened.
    """

    def __init__(self, path: Path, *, capacity: int = _CAPACITY, retention: Retention | None = None) -> None:
        self._capacity = capacity
        self._rows: deque[Row] = deque()
        self._told: deque[Feedback] = deque()
        # Each number has one thread that writes it, so that there is nothing to lock.
        self._texts_put = self._texts_got = 0
        self._refused = self._lost = 0
        self._feedback_refused = self._feedback_lost = 0
        self._dropped_texts = 0
        self._closing = threading.Event()
        self.salt = prepare(path)
        """Random, one a log: what keys are hashed with before they are recorded."""
        self._log = LogFile(path, retention)
        self._thread = threading.Thread(target=self._run, name="traffic log", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Rows that were lost so far."""
        return self._refused + self._lost

    @property
    def dropped_texts(self) -> int:
        """Texts that were to be kept and were not, though their rows may be there."""
        return self._dropped_texts

    @property
    def dropped_feedback(self) -> int:
        """Feedback that was lost so far."""
        return self._feedback_refused + self._feedback_lost

    @property
    def error(self) -> str | None:
        """Why the last batch could not be written; None if it was."""
        return self._log.error

    def record(self, request: RequestRecord, texts: Texts | None = None) -> None:
        """Take one row, to be written soon, with its texts. All rows come from one thread."""
        if len(self._rows) >= self._capacity or self._closing.is_set():
            self._refused += 1
            self._dropped_texts += texts is not None
            return
        self._rows.append((request, self._fitting(texts)))

    def tell(self, feedback: Feedback) -> None:
        """Take what was said of an answer, to be written soon."""
        if len(self._told) >= max(1, self._capacity // 10) or self._closing.is_set():
            self._feedback_refused += 1
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
        if too_large or self._texts_put - self._texts_got + size > _LARGEST_TEXTS:
            self._dropped_texts += 1
            return None
        self._texts_put += size
        return texts

    def _run(self) -> None:
        last_attempts = _LAST_ATTEMPTS
        while not self._closing.wait(_FLUSH_S) or ((self._rows or self._told) and last_attempts):
            if self._closing.is_set():
                last_attempts -= 1
                time.sleep(self._log.away_s)
            self._flush()
        self._lost += len(self._rows)
        self._feedback_lost += len(self._told)
        self._log.close()

    def _flush(self) -> None:
        """Write whatever waits now, and let go of the oldest rows between batches, for they may need the room."""
        self._log.look()
        while self._rows or self._told:
            rows = self._next_rows()
            told = [self._told.popleft() for _ in range(min(len(self._told), _BATCH))]
            lost = self._log.write(rows, told)
            if lost is None:
                self._rows.extendleft(reversed(rows))
                self._told.extendleft(reversed(told))
                break
            self._lost += lost.rows
            self._feedback_lost += lost.feedback
            self._texts_got += sum(_size(texts) for _, texts in rows if texts is not None)
            self._log.prune()
        self._log.prune()

    def _next_rows(self) -> list[Row]:
        rows: list[Row] = []
        size = 0
        while self._rows and len(rows) < _BATCH and size < _TEXTS_A_BATCH:
            rows.append(self._rows.popleft())
            texts = rows[-1][1]
            size += 0 if texts is None else _size(texts)
        return rows


def _size(texts: Texts) -> int:
    return len(texts.request) + len(texts.answer)
