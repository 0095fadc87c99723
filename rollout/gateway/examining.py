"""Looks at answers off the hot path: on one thread, in the order in which requests ended, within bounds."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from rollout.core.metric import RequestRecord, Texts
from rollout.gateway.keeping import Keeping
from rollout.gateway.looks import Looks
from rollout.gateway.spoken import Spoken
from rollout.ports import TrafficRecorder

_PAUSE_S = 0.02
_MOST_ROWS = 50_000
_MOST_ANSWERS = 2_000
_MOST_BYTES = 32 * 1024 * 1024
_HURRY = 100
"""With more than so many waiting, what takes long is left out, so that rows stay fresh."""
_AT_ONCE_S, _REST = 0.001, 2
"""After so much work it rests twice as long: at most a third of one processor is spent here."""
_CLOSE_S = 5.0


@dataclass(frozen=True, slots=True)
class _Waiting:
    record: RequestRecord
    spoken: Spoken | None
    keep: bool
    size: int


class Examiner:
    """Completes records with what is found in their answers, then hands them to the recorder, in order.

    `take` never blocks. Beyond 2,000 waiting rows or 32 MiB of texts, rows are recorded without being looked at
    (`unexamined`) and without their texts (`texts_lost`); beyond 50,000 they are lost (`rows_lost`). `on_done` is
    told of each complete record, on the thread.
    """

    def __init__(
        self,
        recorder: TrafficRecorder,
        looks: Looks,
        keeping: Keeping,
        *,
        on_done: Callable[[RequestRecord], None] = lambda _: None,
    ) -> None:
        self._recorder = recorder
        self._looks = looks
        self._keeping = keeping
        self.on_done = on_done
        self.rows_lost = 0
        # Each number has one thread that writes it, so that there is nothing to lock.
        self._put_bytes = self._got_bytes = 0
        self._passed_by = self._broken = 0
        self._texts_passed_by = self._texts_unkept = 0
        self._waiting: deque[_Waiting] = deque()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="examining", daemon=True)
        self._thread.start()

    @property
    def unexamined(self) -> int:
        """Answers that should have been looked at and were not."""
        return self._passed_by + self._broken

    @property
    def texts_lost(self) -> int:
        """Texts that should have been kept and were not."""
        return self._texts_passed_by + self._texts_unkept

    def take(self, record: RequestRecord, spoken: Spoken | None) -> None:
        """A request is over; `spoken` is there if its answer came whole."""
        waiting = len(self._waiting)
        if waiting >= _MOST_ROWS or self._closing.is_set():
            self.rows_lost += 1
            return
        keep = spoken is not None and self._keeping.wanted(record)
        if spoken is not None and not (keep or spoken.check is not None or self._looks.wanted(record)):
            spoken = None
        size = 0 if spoken is None else _size(spoken, keep)
        if size and (waiting >= _MOST_ANSWERS or self._put_bytes - self._got_bytes + size > _MOST_BYTES):
            self._passed_by += 1
            self._texts_passed_by += keep
            spoken, keep, size = None, False, 0
        self._put_bytes += size
        self._waiting.append(_Waiting(record, spoken, keep, size))

    def close(self) -> None:
        """Look at what is left, without what takes long, and stop; at most five seconds."""
        self._closing.set()
        self._thread.join(timeout=_CLOSE_S)

    def _run(self) -> None:
        # It looks every now and then: to be woken by each request would cost the requests more than this.
        while not self._closing.wait(_PAUSE_S) or self._waiting:
            begun = time.perf_counter()
            while self._waiting:
                self._finish(self._waiting.popleft())
                if (worked := time.perf_counter() - begun) > _AT_ONCE_S:
                    # Only one thread runs at a time, and it should be the one that serves requests.
                    self._closing.wait(worked * _REST)
                    begun = time.perf_counter()

    def _finish(self, item: _Waiting) -> None:
        record, texts = item.record, None
        if item.spoken is not None:
            record = self._examined(record, item.spoken)
            texts = self._kept(item.spoken) if item.keep else None
        self._recorder.record(record, texts)
        self.on_done(record)
        self._got_bytes += item.size

    def _examined(self, record: RequestRecord, spoken: Spoken) -> RequestRecord:
        hurried = self._closing.is_set() or len(self._waiting) > _HURRY
        try:
            return self._looks.at(record, spoken, hurried=hurried)
        except Exception:
            # Whatever an answer did to a look, its row must be there, and the thread must live on.
            self._broken += 1
            return record

    def _kept(self, spoken: Spoken) -> Texts | None:
        try:
            return self._keeping.of(spoken)
        except Exception:
            self._texts_unkept += 1
            return None


def _size(spoken: Spoken, keep: bool) -> int:
    return 1 + len(spoken.text or "") + (len(spoken.request) if keep else 0)
