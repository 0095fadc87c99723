"""What a comparison of shadow traffic asks of the log: pairs, copies that were not made, and questions to ask again."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from rollout.core.metric import Comparison, Copies, NotCopied
from rollout.core.shadow.question import PATHS, Question
from rollout.integrations.trafficlog.counting import COMPLETE, DEALT, PAIRED
from rollout.integrations.trafficlog.source import TrafficLog

_AT_ONCE = 500


class ShadowLog(TrafficLog):
    """ShadowTraffic over the log."""

    def copies(self, comparison: Comparison, *, since: float) -> Copies:
        """What became of stable's requests that were routed at `since` or later."""
        with self._reading() as connection:
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
