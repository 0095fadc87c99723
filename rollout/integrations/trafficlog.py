"""The embedded traffic log: one SQLite row a request, written by gateways and read as a metric source.

Several gateways of one machine may share a file. Ids are given out inside the one write transaction that SQLite
allows at a time, so they become visible in order, and the highest id is an edge that no later row falls behind.
"""

from __future__ import annotations

import dataclasses
import secrets
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from rollout.core.metric import Comparison, Counts, Event, MetricSpec, RequestRecord, Samples, Stage
from rollout.errors import MetricsUnavailable, Unreadable

SCHEMA_VERSION = 1
_BUSY_S = 5.0
_FLUSH_S = 0.05
_CAPACITY = 50_000
_ATTEMPTS = 3

_COLUMNS = tuple(field.name for field in dataclasses.fields(RequestRecord))
_CREATE = f"""
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS requests (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    request_id TEXT NOT NULL,
    name TEXT NOT NULL,
    served TEXT NOT NULL,
    slot TEXT NOT NULL,
    shadow INTEGER NOT NULL,
    mirrored INTEGER NOT NULL,
    pair TEXT,
    keyed INTEGER NOT NULL,
    key_hash TEXT,
    flag_version INTEGER,
    flag_reason TEXT NOT NULL,
    routed_at REAL NOT NULL,
    first_byte_ms REAL,
    latency_ms REAL NOT NULL,
    status INTEGER NOT NULL,
    error TEXT,
    format_valid INTEGER,
    completion_tokens INTEGER,
    output_chars INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS requests_by_request ON requests (request_id);
CREATE INDEX IF NOT EXISTS requests_by_served ON requests (name, served, shadow, id);
PRAGMA user_version = {SCHEMA_VERSION};
"""
_INSERT = f"INSERT INTO requests ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608

# Rows that say nothing about an adapter: the client left, or was refused before any adapter was asked.
_SILENT = "(401, 403, 413, 499)"
_FAILED = "({row}.status = 0 OR {row}.status >= 500 OR {row}.status IN (404, 429) OR {row}.error IS NOT NULL)"
_GOOD = "({row}.status BETWEEN 200 AND 299 AND {row}.error IS NULL)"


class TrafficLogRecorder:
    """TrafficRecorder that writes in batches on a thread of its own, at most 50 ms after a request.

    `record` never blocks: beyond `capacity` waiting rows, or when the disk refuses, rows are counted in
    `dropped` and are missing from every metric. Raises MetricsUnavailable if the log cannot be opened.
    """

    def __init__(self, path: Path, *, capacity: int = _CAPACITY) -> None:
        self._path = path
        self._capacity = capacity
        self._waiting: deque[RequestRecord] = deque()
        self._closing = threading.Event()
        self._dropped = 0
        self._error: str | None = None
        self.salt = _prepare(path)
        """Random, one a log: what keys are hashed with before they are recorded."""
        self._thread = threading.Thread(target=self._run, name="traffic log", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Rows that were lost so far."""
        return self._dropped

    @property
    def error(self) -> str | None:
        """Why the last batch could not be written; None if it was."""
        return self._error

    def record(self, request: RequestRecord) -> None:
        """Take one row, to be written soon."""
        if len(self._waiting) >= self._capacity or self._closing.is_set():
            self._dropped += 1
        else:
            self._waiting.append(request)

    def close(self) -> None:
        """Write what is left and stop."""
        self._closing.set()
        self._thread.join(timeout=2 * _BUSY_S)

    def _run(self) -> None:
        connection: sqlite3.Connection | None = None
        while not self._closing.wait(_FLUSH_S) or self._waiting:
            batch = [self._waiting.popleft() for _ in range(len(self._waiting))]
            if batch:
                connection = self._write(connection, batch)
        if connection is not None:
            connection.close()

    def _write(
        self, connection: sqlite3.Connection | None, batch: Sequence[RequestRecord]
    ) -> sqlite3.Connection | None:
        rows = [dataclasses.astuple(record) for record in batch]
        for _ in range(_ATTEMPTS):
            try:
                connection = connection or _connect(self._path)
                with connection:
                    connection.execute("BEGIN IMMEDIATE")
                    connection.executemany(_INSERT, rows)
            except sqlite3.Error as error:
                self._error = f"{type(error).__name__}: {error}"
                if connection is not None:
                    connection.close()
                connection = None
                time.sleep(_FLUSH_S)
            except Exception as error:
                # A row that SQLite cannot hold. The thread must live on, or every metric would fall silent.
                self._error = f"{type(error).__name__}: {error}"
                break
            else:
                self._error = None
                return connection
        self._dropped += len(rows)
        return None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ServedCounts:
    """What a served adapter answered, from all rows of the log.

    `failed` is every answer that counts as an error; `server_errors` (5xx) and `lost` (no answer at all) are
    parts of it. `client_left` are in `total` and in nothing else.
    """

    total: int
    failed: int
    server_errors: int
    lost: int
    client_left: int
    shadow: int


class TrafficLog:
    """MetricSource over the log, and what `status` and the demo ask of it. Opens the file for reading only."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def edge(self) -> str:
        """The id of the newest committed row. Raises MetricsUnavailable if there is no log."""
        with self._reading() as connection:
            return str(_newest(connection))

    def samples(self, spec: MetricSpec, comparison: Comparison, *, since: str, until: str) -> Samples:
        """Counts of both arms in (since, until].

        Shadow counts pairs: a copy that the candidate answered, beside the request of stable that it copies;
        the pair belongs to the window of its copy, which is always the later row. In a canary the stable arm
        holds keyed requests only, because no others are dealt at random. Raises MetricsUnavailable if there is
        no log or the edges are not its own.
        """
        window = _edge(since), _edge(until)
        with self._reading() as connection:
            if max(window) > _newest(connection):
                raise MetricsUnavailable(
                    f"{self._path} ends before the edge {max(window)}: it is not the log that the edge is from"
                )
            if comparison.stage is Stage.SHADOW:
                stable, candidate = _pairs(connection, spec, comparison, window)
            else:
                keyed_only = comparison.stage is Stage.CANARY
                stable = _arm(connection, spec, comparison.name, comparison.stable, window, keyed_only)
                candidate = _arm(connection, spec, comparison.name, comparison.candidate, window, False)
        return Samples(metric=spec.id, since=since, until=until, stable=stable, candidate=candidate)

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
        failed = _FAILED.format(row="r")
        sql = f"""
            SELECT served, sum(shadow = 0), sum(shadow = 0 AND status != 499 AND {failed}),
                   sum(shadow = 0 AND status >= 500), sum(shadow = 0 AND status = 0),
                   sum(shadow = 0 AND status = 499), sum(shadow)
            FROM requests AS r WHERE name = ? GROUP BY served
        """  # noqa: S608 - built from constants
        names = [field.name for field in dataclasses.fields(ServedCounts)]
        with self._reading() as connection:
            rows = connection.execute(sql, (name,)).fetchall()
        return {served: ServedCounts(**dict(zip(names, counts, strict=True))) for served, *counts in rows}

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        if not self._path.is_file():
            raise MetricsUnavailable(
                f"there is no traffic log at {self._path}", advice="Is a gateway running?"
            )
        try:
            uri = f"{self._path.resolve().as_uri()}?mode=ro"
            with closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_S)) as connection:
                _check_version(connection, self._path)
                connection.execute("BEGIN")  # one snapshot for all that is asked
                yield connection
        except sqlite3.Error as error:
            raise MetricsUnavailable(f"the traffic log {self._path} cannot be read: {error}") from error


def _bad(spec: MetricSpec, row: str) -> tuple[str, str, dict[str, float]]:
    """(what a row must be to count, when it is bad, parameters), as SQL over the alias `row`."""
    good = _GOOD.format(row=row)
    match spec.event:
        case Event.ERROR:
            return f"{row}.status NOT IN {_SILENT}", _FAILED.format(row=row), {}
        case Event.FORMAT_INVALID:
            return (
                f"({row}.status BETWEEN 200 AND 299 AND {row}.format_valid IS NOT NULL)",
                (f"{row}.format_valid = 0"),
                {},
            )
        case Event.SLOW:
            if spec.slow_after_ms is None:
                raise Unreadable(f"metric {spec.id} counts slow answers and does not say slow_after_ms")
            return good, f"{row}.latency_ms > :slow", {"slow": spec.slow_after_ms}


def _arm(
    connection: sqlite3.Connection,
    spec: MetricSpec,
    name: str,
    served: str,
    window: tuple[int, int],
    keyed_only: bool,
) -> Counts:
    counts, bad, extra = _bad(spec, "r")
    sql = f"""
        SELECT count(*), coalesce(sum({bad}), 0) FROM requests AS r
        WHERE r.name = :name AND r.served = :served AND r.shadow = 0 AND r.keyed >= :keyed
          AND r.id > :since AND r.id <= :until AND {counts}
    """  # noqa: S608 - built from constants
    parameters = {"name": name, "served": served, "keyed": int(keyed_only), **_bounds(window), **extra}
    total, number = connection.execute(sql, parameters).fetchone()
    return Counts(total=total, bad=number)


def _pairs(
    connection: sqlite3.Connection, spec: MetricSpec, comparison: Comparison, window: tuple[int, int]
) -> tuple[Counts, Counts]:
    counts_c, bad_c, extra = _bad(spec, "c")
    counts_s, bad_s, _ = _bad(spec, "s")
    sql = f"""
        SELECT coalesce(sum({counts_s}), 0), coalesce(sum({counts_s} AND {bad_s}), 0),
               coalesce(sum({counts_c}), 0), coalesce(sum({counts_c} AND {bad_c}), 0)
        FROM requests AS c JOIN requests AS s
          ON s.request_id = c.pair AND s.shadow = 0 AND s.mirrored = 1 AND s.name = c.name
        WHERE c.name = :name AND c.served = :candidate AND c.shadow = 1 AND s.served = :stable
          AND c.id > :since AND c.id <= :until
    """  # noqa: S608 - built from constants
    names = {"name": comparison.name, "stable": comparison.stable, "candidate": comparison.candidate}
    row = connection.execute(sql, {**names, **_bounds(window), **extra}).fetchone()
    return Counts(total=row[0], bad=row[1]), Counts(total=row[2], bad=row[3])


def _bounds(window: tuple[int, int]) -> dict[str, int]:
    return {"since": window[0], "until": window[1]}


def _edge(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise MetricsUnavailable(f"{text!r} is not an edge of a traffic log")
    return int(text)


def _newest(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT coalesce(max(id), 0) FROM requests").fetchone()[0])


def _connect(path: Path) -> sqlite3.Connection:
    # Autocommit mode: the transactions are ours, begun with the write lock so that they never dead-lock.
    connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def _prepare(path: Path) -> bytes:
    """Create the log if there is none; the answer is its salt."""
    failure: Exception | None = None
    for _ in range(_ATTEMPTS):
        try:
            return _create(path)
        except sqlite3.OperationalError as error:
            # Turning on WAL does not wait for a gateway that does the same at this moment.
            failure = error
            time.sleep(_FLUSH_S)
        except (OSError, sqlite3.Error) as error:
            raise MetricsUnavailable(f"the traffic log {path} cannot be opened: {error}") from error
    raise MetricsUnavailable(f"the traffic log {path} cannot be opened: {failure}") from failure


def _create(path: Path) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(_connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        _check_version(connection, path, fresh_too=True)
        connection.executescript(f"BEGIN IMMEDIATE; {_CREATE} COMMIT;")
        salt = secrets.token_hex(16)
        connection.execute("INSERT INTO meta VALUES ('salt', ?) ON CONFLICT DO NOTHING", (salt,))
        (salt,) = connection.execute("SELECT value FROM meta WHERE key = 'salt'").fetchone()
        return bytes.fromhex(salt)


def _check_version(connection: sqlite3.Connection, path: Path, *, fresh_too: bool = False) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != SCHEMA_VERSION and not (fresh_too and version == 0):
        raise MetricsUnavailable(f"the traffic log {path} has schema {version}, not {SCHEMA_VERSION}")
