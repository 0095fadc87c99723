"""What a log holds of an adapter's past: how much is asked of it, and the rows of a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from rollout.core.metric import RequestRecord
from rollout.integrations.trafficlog.retention import removed_up_to
from rollout.integrations.trafficlog.rows import rows_behind
from rollout.integrations.trafficlog.source import TrafficLog, _mark, _newest

_AT_ONCE = 5_000
# From the newest row back, so that no more is read than what came since.
_OLDER = "SELECT id FROM requests WHERE routed_at < ? ORDER BY id DESC LIMIT 1"
_ASKED = """
    SELECT count(*), min(routed_at) FROM requests
    WHERE id > ? AND +name = ? AND shadow = 0 AND retry_of IS NULL
"""


class PastTraffic(TrafficLog):
    """A traffic log, asked by times of day. They are Unix seconds."""

    def edge_at(self, at: float) -> str:
        """The edge behind the last row that was routed before `at` and is still known."""
        with self._reading() as connection:
            return f"{_mark(connection)}:{_before(connection, at)}"

    def per_second(self, name: str, *, since: float, until: float) -> float | None:
        """Requests of users a second since then, or since the first one that is known; None for less than two."""
        with self._reading() as connection:
            number, first = connection.execute(_ASKED, (_before(connection, since), name)).fetchone()
        if number < 2 or until <= first:
            return None
        return float(number / (until - first))

    def rows(self, name: str, *, since: float, until: float) -> Iterator[RequestRecord]:
        """Requests of users that were routed in [since, until), in the order of their ends."""
        with self._reading() as connection:
            after = _before(connection, since)
        while True:
            with self._reading() as connection:
                found = rows_behind(connection, after, _AT_ONCE)
            if not found:
                return
            after = found[-1][0]
            for _, row in found:
                if row.name == name and not row.shadow and since <= row.routed_at < until:
                    yield row


def _before(connection: sqlite3.Connection, at: float) -> int:
    """The id of the last row that was routed before `at`, but no earlier than what is still there."""
    older = connection.execute(_OLDER, (at,)).fetchone()
    removed = removed_up_to(connection), removed_up_to(connection, feedback=True)
    return min(max(older[0] if older else 0, *removed), _newest(connection))
