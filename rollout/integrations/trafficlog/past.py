"""What a log holds of an adapter's past: how much is asked of it, and the rows of a time."""

from __future__ import annotations

from collections.abc import Iterator

from rollout.core.metric import RequestRecord
from rollout.integrations.trafficlog.retention import removed_up_to
from rollout.integrations.trafficlog.rows import rows_behind
from rollout.integrations.trafficlog.source import TrafficLog, _mark, _newest

_AT_ONCE = 5_000
_OLDER = "SELECT coalesce(max(id), 0) FROM requests WHERE routed_at < ?"
_ASKED = """
    SELECT count(*), min(routed_at), max(routed_at) FROM requests
    WHERE name = ? AND shadow = 0 AND routed_at >= ? AND retry_of IS NULL
"""


class PastTraffic(TrafficLog):
    """A traffic log, asked by times of day. They are Unix seconds."""

    def edge_at(self, at: float) -> str:
        """The edge behind the last row that was routed before `at` and is still known. Reads the whole log once."""
        with self._reading() as connection:
            (older,) = connection.execute(_OLDER, (at,)).fetchone()
            known = min(
                max(older, removed_up_to(connection), removed_up_to(connection, feedback=True)),
                _newest(connection),
            )
            return f"{_mark(connection)}:{known}"

    def per_second(self, name: str, *, since: float, until: float) -> float | None:
        """Requests of users a second since then, or since the first one that is known; None for less than two."""
        with self._reading() as connection:
            number, first, _ = connection.execute(_ASKED, (name, since)).fetchone()
        if number < 2 or until <= first:
            return None
        return float(number / (until - first))

    def rows(self, name: str, *, since: float, until: float) -> Iterator[RequestRecord]:
        """Requests of users that were routed in [since, until), in the order of their ends."""
        after = int(self.edge_at(since).partition(":")[2])
        while True:
            with self._reading() as connection:
                found = rows_behind(connection, after, _AT_ONCE)
            if not found:
                return
            after = found[-1][0]
            for _, row in found:
                if row.name == name and not row.shadow and since <= row.routed_at < until:
                    yield row
