"""What versions answered around an incident, by time: requests of users, and how many of them went wrong."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime

from rollout.core.traces import Answered, Bucket, Traffic
from rollout.errors import MetricsUnavailable
from rollout.integrations.trafficlog.counting import GOOD, LEFT
from rollout.integrations.trafficlog.retention import removed_up_to
from rollout.integrations.trafficlog.source import TrafficLog, _edge, _mark

MOST_BUCKETS = 240
_WIDTHS_S = (60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400)
_FAILED = f"(NOT {LEFT.format(row='r')} AND NOT {GOOD.format(row='r')})"
_MALFORMED = f"({GOOD.format(row='r')} AND r.format_valid IS 0)"
_USERS = (
    "r.name = ? AND r.served = ? AND r.shadow = 0 AND r.pinned = 0 AND r.routed_at >= ? AND r.routed_at <= ?"
)
_ANSWERED = f"""
    SELECT count(*), count(DISTINCT r.key_hash), coalesce(sum(r.key_hash IS NULL), 0),
           coalesce(sum({_FAILED}), 0), coalesce(sum({_MALFORMED}), 0),
           coalesce(sum({_FAILED} AND EXISTS (
               SELECT 1 FROM requests AS again WHERE again.retry_of = r.request_id AND again.name = r.name
               AND again.routed_at >= r.routed_at AND {GOOD.format(row="again")})), 0),
           min(CASE WHEN {_FAILED} OR {_MALFORMED} THEN r.routed_at END), max(r.routed_at)
    FROM requests AS r WHERE {_USERS}
"""  # noqa: S608 - built from constants
_BUCKETS = f"""
    SELECT CAST(r.routed_at / ? AS INTEGER) AS place, count(*), coalesce(sum({_FAILED}), 0),
           coalesce(sum({_MALFORMED}), 0)
    FROM requests AS r WHERE {_USERS} GROUP BY place ORDER BY place
"""  # noqa: S608 - built from constants


class TrafficAround(TrafficLog):
    """TrafficHistory over the log."""

    def around(
        self,
        name: str,
        served: Sequence[str],
        *,
        since: datetime,
        until: datetime,
        counted_from: datetime,
        edge: str | None,
    ) -> Traffic:
        """What each of `served` answered; in minutes, or longer times where there would be more than MOST_BUCKETS."""
        width = _width((until - since).total_seconds())
        with self._reading() as connection:
            whole = _reaches(connection, edge)
            answered = {each: _answered(connection, name, each, counted_from, until) for each in served}
            buckets = [
                bucket for each in served for bucket in _buckets(connection, name, each, since, until, width)
            ]
        return Traffic(
            since=since,
            until=until,
            width_s=width,
            whole=whole,
            answered=answered,
            buckets=tuple(sorted(buckets, key=lambda bucket: (bucket.at, bucket.served))),
        )


def _width(seconds: float) -> int:
    return next((width for width in _WIDTHS_S if seconds / width <= MOST_BUCKETS), _WIDTHS_S[-1])


def _reaches(connection: sqlite3.Connection, edge: str | None) -> bool:
    """Whether the log still has all that came behind an edge of its own."""
    if edge is None:
        return False
    try:
        log, row = _edge(edge.partition("|")[0])
    except MetricsUnavailable:
        return False
    return log == _mark(connection) and row >= removed_up_to(connection)


def _answered(
    connection: sqlite3.Connection, name: str, served: str, since: datetime, until: datetime
) -> Answered:
    row = connection.execute(_ANSWERED, (name, served, since.timestamp(), until.timestamp())).fetchone()
    requests, users, unkeyed, failed, malformed, rescued, first_bad, last = row
    return Answered(
        requests=requests,
        users=users,
        unkeyed=unkeyed,
        failed=failed,
        malformed=malformed,
        rescued=rescued,
        first_bad=None if first_bad is None else datetime.fromtimestamp(first_bad, UTC),
        last_routed=None if last is None else datetime.fromtimestamp(last, UTC),
    )


def _buckets(
    connection: sqlite3.Connection, name: str, served: str, since: datetime, until: datetime, width: int
) -> list[Bucket]:
    rows = connection.execute(_BUCKETS, (width, name, served, since.timestamp(), until.timestamp()))
    return [
        Bucket(
            at=datetime.fromtimestamp(place * width, UTC),
            served=served,
            requests=requests,
            failed=failed,
            malformed=malformed,
        )
        for place, requests, failed, malformed in rows
    ]
