"""Recorded requests, let happen once more: dealt anew to two arms that are the same, or as they were dealt.

The rows lie in a database in memory, so that the log's own rules count them. Nothing is written to the log.
"""

from __future__ import annotations

import hashlib
import sqlite3
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from rollout.core.metric import Comparison, MetricSpec, RequestRecord, Stage
from rollout.core.plan import WHOLE, Share
from rollout.core.played import Played, Slice
from rollout.errors import Unreadable
from rollout.integrations.trafficlog.logfile import _INSERT, _row
from rollout.integrations.trafficlog.looks import look_at
from rollout.integrations.trafficlog.schema import _bring_up_to_date

MOST_ROWS = 1_000_000
_DEALT = "dealt"
_DEAL = "UPDATE requests SET served = CASE WHEN dealt(key_hash) THEN ? ELSE ? END WHERE id > ? AND id <= ?"
_MET = "SELECT count(*) FROM requests WHERE served = ? AND id > ? AND id <= ?"


class ReplayedTraffic:
    """Requests of one window, over and over until the plan has ended.

    Without a `candidate`, those of `stable` are dealt at random by their keys, at the share that the plan is at: two arms
    of one version. With one, rows are whose they were, whatever the share is. In both cases there are no pairs, so
    that a shadow has nothing to compare. Raises Unreadable for a window without any such requests.
    """

    def __init__(
        self, rows: Iterable[RequestRecord], *, stable: str, candidate: str | None, seed: int
    ) -> None:
        arms = {stable, candidate}
        kept = [replace(row, mirrored=False) for row in _as_many_as_fit(rows, arms)]
        if len(kept) < 2:
            raise Unreadable(
                f"the window has no requests of {' and '.join(filter(None, sorted(map(str, arms - {None}))))}"
            )
        self._times = sorted(row.routed_at for row in kept)
        self._span = max(self._times[-1] - self._times[0], 1.0)
        self._anew = candidate is None
        self._seed = seed
        self._run = 0
        self._round = 0.0
        self._share = Share.ZERO
        self._begins = datetime.min
        self._names = kept[0].name, stable, candidate or f"{stable} again"
        self._rows = sqlite3.connect(":memory:")
        _bring_up_to_date(self._rows, Path(":memory:"))
        self._rows.executemany(_INSERT, [_row(row) for row in sorted(kept, key=lambda row: row.routed_at)])
        self._rows.create_function(_DEALT, 1, self._is_dealt)

    @property
    def requests(self) -> int:
        """How many there are."""
        return len(self._times)

    @property
    def seconds(self) -> float:
        """From the first to the last of them."""
        return self._span

    def begin(self, run: int, at: datetime) -> None:
        """The window begins at the first look's beginning, and users are drawn anew."""
        self._run, self._begins = run, at

    def play(self, specs: Sequence[MetricSpec], time: Slice) -> Played:
        """The rows of the same time since the window's beginning."""
        name, stable, candidate = self._names
        comparison = Comparison(name=name, stable=stable, candidate=candidate, stage=time.stage)
        window = self._window(time)
        if self._anew:
            share = Share.ZERO if time.stage is Stage.SHADOW else time.share
            self._share = share
            self._rows.execute(_DEAL, (candidate, stable, *window))
        (met,) = self._rows.execute(_MET, (candidate, *window)).fetchone()
        since, until = map(str, window)
        samples = [look_at(self._rows, spec, comparison, window, since=since, until=until) for spec in specs]
        return Played(samples=samples, met=met)

    def _window(self, time: Slice) -> tuple[int, int]:
        """The ids of a slice. One that goes over the window's end is cut there; the next begins at its beginning."""
        begun = (time.since - self._begins).total_seconds()
        self._round, offset = divmod(begun, self._span)
        first = self._times[0] + offset
        last = first + (time.until - time.since).total_seconds()
        return bisect_left(self._times, first), bisect_left(self._times, last)

    def _is_dealt(self, key: str | None) -> bool:
        """A user stays where he is while the share grows; of another run, or round, others are drawn.

        Rounds are drawn anew, for the same accident twice would be no more evidence than once.
        """
        if self._share == Share.FULL or key is None:
            return self._share == Share.FULL
        drawn = hashlib.sha256(f"{self._seed}:{self._run}:{self._round:.0f}:{key}".encode()).digest()
        return int.from_bytes(drawn[:8], "big") % WHOLE < self._share.thousandths


def _as_many_as_fit(rows: Iterable[RequestRecord], arms: set[str | None]) -> Iterator[RequestRecord]:
    """Those of the arms. Raises Unreadable as soon as there are too many, and reads no further."""
    ours = (row for row in rows if row.served in arms and not row.shadow)
    for number, row in enumerate(ours):
        if number == MOST_ROWS:
            raise Unreadable(
                f"the window has more than the {MOST_ROWS:,} requests that fit in memory",
                advice="Narrow it with --since and --until.",
            )
        yield row
