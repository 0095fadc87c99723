"""What the log forgets: its oldest rows, with their texts and what was said of them, a few at a time."""

from __future__ import annotations

import sqlite3

DAY_S = 86_400.0
_MIB = 1024 * 1024
_BATCH = 50
_WAL_MIB = 4
_FILLED = 0.9
"""Share of the room beyond which the oldest rows go, so that there is always room for those that come."""
_OF_FEEDBACK = 0.1
"""Share of the room that feedback may take: anyone may send some, whether there was such a request or not."""
_FEEDBACK_BYTES = 250
_VACUUM_PAGES = 256
_ROWS, _FEEDBACK = "removed_up_to", "feedback_removed_up_to"


class Retention:
    """Keeps a log within `keep_days` days and `max_mb` MiB, its write-ahead log included.

    What was removed is remembered in the log: `removed_up_to` is the highest id. The file of a log that is made
    now shrinks when its limit does; one that an older version made only stops to grow.
    """

    def __init__(self, *, keep_days: int = 30, max_mb: int = 4096) -> None:
        self._keep_s = keep_days * DAY_S
        self._room = (max_mb - _WAL_MIB) * _MIB

    def limit(self, connection: sqlite3.Connection) -> None:
        """Let the file grow no further than its room, whatever is written."""
        connection.execute(f"PRAGMA max_page_count = {self._room // _number(connection, 'page_size')}")

    def prune(self, connection: sqlite3.Connection, now: float) -> bool:
        """Remove one batch of what is too old or too much; whether there may be more. Raises sqlite3.Error."""
        pages, free = _number(connection, "page_count"), _number(connection, "freelist_count")
        size = _number(connection, "page_size")
        oldest = connection.execute(
            "SELECT id, routed_at FROM requests ORDER BY id LIMIT ?", (_BATCH,)
        ).fetchall()
        if (pages - free) * size > self._room * _FILLED:
            last = oldest[-1][0] if oldest else 0
        else:
            last = max((row for row, routed_at in oldest if routed_at < now - self._keep_s), default=0)
        if last:
            _remove(connection, last)
        more = self._prune_feedback(connection, now) or bool(last)
        if not more and free and pages * size > self._room:
            # `execute` would take the first of its steps only.
            connection.executescript(f"PRAGMA incremental_vacuum({_VACUUM_PAGES}); PRAGMA wal_checkpoint")
            return _number(connection, "page_count") < pages
        return more

    def _prune_feedback(self, connection: sqlite3.Connection, now: float) -> bool:
        most = int(self._room * _OF_FEEDBACK / _FEEDBACK_BYTES)
        (newest,) = connection.execute("SELECT coalesce(max(id), 0) FROM feedback").fetchone()
        oldest = connection.execute(
            "SELECT id, behind, at FROM feedback ORDER BY id LIMIT ?", (_BATCH,)
        ).fetchall()
        gone = [row for row in oldest if row[0] <= newest - most or row[2] < now - self._keep_s]
        if not gone:
            return False
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("DELETE FROM feedback WHERE id <= ?", (gone[-1][0],))
            _remember(connection, _FEEDBACK, max(row[1] for row in gone))
        return True


def removed_up_to(connection: sqlite3.Connection, *, feedback: bool = False) -> int:
    """The highest id of a row that was removed, or of a row that removed feedback was before; 0 if none was."""
    key = _FEEDBACK if feedback else _ROWS
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return 0 if row is None else int(row[0])


def _remove(connection: sqlite3.Connection, last: int) -> None:
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        for table in ("texts", "feedback"):
            connection.execute(
                f"DELETE FROM {table} WHERE request_id IN (SELECT request_id FROM requests WHERE id <= ?)",  # noqa: S608
                (last,),
            )
        connection.execute("DELETE FROM requests WHERE id <= ?", (last,))
        _remember(connection, _ROWS, last)


def _remember(connection: sqlite3.Connection, key: str, last: int) -> None:
    last = max(last, removed_up_to(connection, feedback=key == _FEEDBACK))
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, str(last)))


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])
