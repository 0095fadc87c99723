"""The reading side: counts of both arms, rows and pairs, and what `status` and the demo ask."""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from rollout.core.exposure import Exposure
from rollout.core.metric import Comparison, Event, MetricSpec, Pair, RequestRecord, Samples, Score
from rollout.errors import MetricsUnavailable
from rollout.integrations.trafficlog.exposed import count_exposure
from rollout.integrations.trafficlog.looks import look_at
from rollout.integrations.trafficlog.retention import removed_up_to
from rollout.integrations.trafficlog.rows import complete_pairs, pairs_at, rows_behind
from rollout.integrations.trafficlog.schema import BUSY_S, check_version
from rollout.integrations.trafficlog.summaries import FeedbackCounts, ServedCounts, feedback, served_counts

_EDGE = re.compile(r"([0-9a-f]{12}):([0-9]{1,18})")
_PAIRS_AT_ONCE = 50


class TrafficLog:
    """MetricSource and TrafficReader over the log, and what `status` and the demo ask of it. Opens it for reading.

    Where a control is at hand (shadow, canary) every answer but a good one is an error in both arms alike: users
    who ask for nonsense are dealt to both, and a rejection that only the candidate gives is its own. At 100 %
    nothing tells the two apart, so that rejections count there for a metric of their own only. A client that
    leaves within ten seconds, or after the answer had begun, is no error; one that left because an answer took
    longer than the metric's limit was answered slowly. Answers that testers had pinned, and those that stable gave
    in the place of a failed candidate, count nowhere; those that waited for an adapter's load are not called slow.
    A unit whose minute an edge divides counts on both sides of it.

    A latency has the good answers that took that time, and time-outs as the largest of all; whatever else failed is
    the errors' business, and who waited for an adapter's load is left out. Of a shadow both answers of a pair have it,
    or neither. Of like length (`by_length`) are, for the first token, prompts, and for all other times answers.

    Nothing comes late: a row is behind every edge that was told before it was written, however long its answer took.
    So all metrics of a look speak of the same rows, though each is read by itself.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def edge(self) -> str:
        """The log's own mark and the id of its newest committed row. Raises MetricsUnavailable if there is no log."""
        with self._reading() as connection:
            return f"{_mark(connection)}:{_newest(connection)}"

    def samples(self, spec: MetricSpec, comparison: Comparison, *, since: str, until: str) -> Samples:
        """What both arms show of a metric in (since, until].

        Shadow counts pairs: a copy that was carried to its end, beside the request of stable that it copies;
        the pair belongs to the window of its copy, which is always the later row. In a canary the stable arm
        holds keyed requests only, because no others are dealt at random. Feedback belongs to the window of the row
        that came after it. Raises MetricsUnavailable if there is no log, the edges are not its own, or rows behind
        the first were removed since: evidence that is partly gone is none.
        """
        told = spec.event is Event.THUMBS_DOWN or spec.score is Score.FEEDBACK
        with self._reading() as connection:
            window = self._window(connection, since, until, feedback=told)
            return look_at(connection, spec, comparison, window, since=since, until=until)

    def exposure(self, comparison: Comparison, *, since: str, until: str, flag_version: int) -> Exposure:
        """Who was served what in (since, until] by decisions of `flag_version` or a newer one.

        Rows whose gateway knew of no such flag were decided by none. Takes about two seconds for a million
        requests. Raises MetricsUnavailable as `samples` does.
        """
        with self._reading() as connection:
            window = self._window(connection, since, until)
            return count_exposure(connection, comparison, window, flag_version)

    def records(self, *, after: int, limit: int) -> Sequence[tuple[int, RequestRecord]]:
        """Rows behind the id `after`, oldest first, at most `limit`, each with its id."""
        with self._reading() as connection:
            return rows_behind(connection, after, limit)

    def pairs(self, comparison: Comparison, *, since: float, limit: int) -> Iterator[Pair]:
        """Complete pairs whose copy was routed at `since` (Unix seconds) or later, newest first.

        Read a few at a time, so that a slow reader does not keep the log from being tidied; pairs that are removed
        meanwhile are left out.
        """
        with self._reading() as connection:
            wanted = complete_pairs(connection, comparison, since, limit)
        for start in range(0, len(wanted), _PAIRS_AT_ONCE):
            with self._reading() as connection:
                found = pairs_at(connection, wanted[start : start + _PAIRS_AT_ONCE])
            yield from found

    def last_routed(self, name: str, served: str) -> float | None:
        """Unix time at which a user's request was last routed to `served`; None if never."""
        with self._reading() as connection:
            row = connection.execute(
                "SELECT max(routed_at) FROM requests WHERE name = ? AND served = ? AND shadow = 0",
                (name, served),
            ).fetchone()
        return None if row[0] is None else float(row[0])

    def requests(self, name: str) -> Mapping[str, ServedCounts]:
        """Counts per served adapter of one logical name, over the whole log."""
        with self._reading() as connection:
            return served_counts(connection, name)

    def feedback(self, name: str) -> Mapping[str, FeedbackCounts]:
        """What users said of each served adapter of one logical name, over the whole log."""
        with self._reading() as connection:
            return feedback(connection, name)

    def _window(
        self, connection: sqlite3.Connection, since: str, until: str, *, feedback: bool = False
    ) -> tuple[int, int]:
        """The ids of two edges, between which the log is whole, with its feedback where that is asked for."""
        (log, first), (other, last) = _edge(since), _edge(until)
        if {log, other} != {_mark(connection)} or max(first, last) > _newest(connection):
            raise MetricsUnavailable(
                f"{self._path} is not the log that the edges {since} and {until} are from"
            )
        removed = removed_up_to(connection)
        if feedback:
            removed = max(removed, removed_up_to(connection, feedback=True))
        if first < removed:
            raise MetricsUnavailable(
                f"part of what {self._path} held behind the edge {since} was removed to keep it within its limits",
                advice="Let keep_days and max_mb of the environment's metrics hold a whole stage of a release.",
            )
        return first, last

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        if not self._path.is_file():
            raise MetricsUnavailable(
                f"there is no traffic log at {self._path}", advice="Is a gateway running?"
            )
        try:
            uri = f"{self._path.resolve().as_uri()}?mode=ro"
            with closing(sqlite3.connect(uri, uri=True, timeout=BUSY_S)) as connection:
                check_version(connection, self._path)
                connection.execute("BEGIN")  # one snapshot for all that is asked
                yield connection
        except sqlite3.Error as error:
            raise MetricsUnavailable(f"the traffic log {self._path} cannot be read: {error}") from error


def _edge(text: str) -> tuple[str, int]:
    if (found := _EDGE.fullmatch(text)) is None:
        raise MetricsUnavailable(f"{text!r} is not an edge of a traffic log")
    return found[1], int(found[2])


def _mark(connection: sqlite3.Connection) -> str:
    """What tells this log from one that took its place: ids begin anew in each."""
    (salt,) = connection.execute("SELECT value FROM meta WHERE key = 'salt'").fetchone()
    return hashlib.sha256(salt.encode()).hexdigest()[:12]


def _newest(connection: sqlite3.Connection) -> int:
    """The highest id that was ever given, whether or not its row is still there."""
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'requests'").fetchone()
    return 0 if row is None else int(row[0])
