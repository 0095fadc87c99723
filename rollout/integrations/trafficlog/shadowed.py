"""What a comparison of shadow traffic asks of the log: pairs, copies that were not made, and questions to ask again."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from rollout.core.metric import Comparison, Copies, NotCopied, Pair
from rollout.core.shadow.question import PATHS, Question
from rollout.errors import MetricsUnavailable
from rollout.integrations.trafficlog.counting import COMPLETE, DEALT, PAIRED
from rollout.integrations.trafficlog.retention import removed_up_to
from rollout.integrations.trafficlog.source import TrafficLog

_AT_ONCE = 500


class ShadowLog(TrafficLog):
    """ShadowTraffic over the log, for a release that began at `edge`.

    Pairs and copies raise MetricsUnavailable where rows of their time were removed: evidence that is partly gone is
    none. Since 0 asks for what the log holds, whatever that is.
    """

    def __init__(self, path: Path, edge: str | None = None) -> None:
        super().__init__(path)
        # One of several logs has its own part of a joined edge.
        self._begins = {mark: int(row) for mark, _, row in _parts(edge) if row.isdecimal()}

    def pairs(self, comparison: Comparison, *, since: float, limit: int) -> Iterator[Pair]:
        """Complete pairs whose copy was routed at `since` (Unix seconds) or later, newest first."""
        yield from super().pairs(comparison, since=since, limit=limit)
        mark = self.edge().partition(":")[0]
        with self._reading() as connection:  # afterwards: what was removed meanwhile was not read
            self._require_all(connection, mark, since)

    def copies(self, comparison: Comparison, *, since: float) -> Copies:
        """What became of stable's requests that were routed at `since` or later."""
        mark = self.edge().partition(":")[0]
        with self._reading() as connection:
            self._require_all(connection, mark, since)
            requests, copied = _requests(connection, comparison, since)
            return Copies(
                requests=requests,
                copied=copied,
                not_copied=_not_copied(connection, comparison, since),
                pairs=_pairs(connection, comparison, since),
            )

    def questions(self, name: str, *, since: float) -> Iterator[Question]:
        """What users asked under a logical name at `since` or later and whose texts were kept, oldest first."""
        last = 0
        while True:
            with self._reading() as connection:
                rows = _questions(connection, name, since, last)
            for _, id_, at, path, request in rows:
                yield Question(id=id_, path=path, body=request.encode(), at=at)
            if len(rows) < _AT_ONCE:
                return
            last = rows[-1][0]

    def _require_all(self, connection: sqlite3.Connection, mark: str, since: float) -> None:
        if since == 0:
            return
        # A log that took the place of the release's own has nothing of before its first row either.
        is_own = not self._begins or mark in self._begins
        if is_own and removed_up_to(connection) <= self._begins.get(mark, 0):
            return
        # Rows are in the order of their ends: if the oldest ended before, all that were removed did.
        row = connection.execute(
            "SELECT routed_at + max(latency_ms, 0.0) / 1000.0 FROM requests ORDER BY id LIMIT 1"
        ).fetchone()
        if row is None or row[0] > since:
            raise MetricsUnavailable(
                "part of what the traffic log held of this time was removed to keep it within its limits",
                advice="Let keep_days and max_mb of the environment's metrics hold a whole stage, or name a later --since.",
            )


def _parts(edge: str | None) -> Iterator[tuple[str, str, str]]:
    return (part.partition(":") for part in (edge or "").split("+"))


def _requests(connection: sqlite3.Connection, comparison: Comparison, since: float) -> tuple[int, int]:
    sql = f"""
        SELECT count(*), coalesce(sum(r.mirrored), 0) FROM requests AS r
        WHERE r.name = ? AND r.served = ? AND r.shadow = 0 AND r.routed_at >= ? AND {DEALT.format(row="r")}
    """  # noqa: S608 - built from constants
    requests, copied = connection.execute(sql, (comparison.name, comparison.stable, since)).fetchone()
    return int(requests), int(copied)


def _not_copied(connection: sqlite3.Connection, comparison: Comparison, since: float) -> dict[NotCopied, int]:
    sql = """
        SELECT not_copied, count(*) FROM requests
        WHERE name = ? AND served = ? AND shadow = 0 AND routed_at >= ? AND not_copied IS NOT NULL
        GROUP BY not_copied ORDER BY not_copied
    """
    rows = connection.execute(sql, (comparison.name, comparison.stable, since))
    return {NotCopied(why): count for why, count in rows}


def _pairs(connection: sqlite3.Connection, comparison: Comparison, since: float) -> int:
    sql = f"""
        SELECT count(*) FROM {PAIRED}
        WHERE c.name = ? AND c.served = ? AND c.shadow = 1 AND s.served = ? AND c.routed_at >= ? AND {COMPLETE}
    """  # noqa: S608 - built from constants
    names = comparison.name, comparison.candidate, comparison.stable
    return int(connection.execute(sql, (*names, since)).fetchone()[0])


def _questions(
    connection: sqlite3.Connection, name: str, since: float, after: int
) -> list[tuple[int, str, float, str, str]]:
    sql = f"""
        SELECT r.id, r.request_id, r.routed_at, r.path, t.request
        FROM requests AS r JOIN texts AS t ON t.request_id = r.request_id
        WHERE r.id > ? AND r.name = ? AND r.shadow = 0 AND r.retry_of IS NULL AND r.routed_at >= ?
          AND r.path IN ({", ".join("?" * len(PATHS))})
        ORDER BY r.id LIMIT {_AT_ONCE}
    """  # noqa: S608 - built from constants
    return connection.execute(sql, (after, name, since, *PATHS)).fetchall()
