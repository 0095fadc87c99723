"""The log's file: its tables, how it is opened for writing, and how an older one is brought up to date."""

from __future__ import annotations

import secrets
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from rollout.errors import MetricsUnavailable

SCHEMA_VERSION = 3
BUSY_S = 5.0
_MIGRATED_FROM = (0, 1, 2)  # 0: a file without tables
_ATTEMPTS = 3
_PAUSE_S = 0.05
_WAL_PAGES, _WAL_BYTES = 512, 4 * 1024 * 1024

_ADDED_IN_2 = {
    "error_class": "TEXT",
    "conversation_hash": "TEXT",
    "path": "TEXT NOT NULL DEFAULT ''",
    "streamed": "INTEGER NOT NULL DEFAULT 0",
    "replica": "TEXT",
    "cold": "INTEGER NOT NULL DEFAULT 0",
    "retry_of": "TEXT",
    "pinned": "INTEGER NOT NULL DEFAULT 0",
    "first_token_ms": "REAL",
    "inter_token_ms": "REAL",
    "prompt_tokens": "INTEGER",
    "finish_reason": "TEXT",
    "refused": "INTEGER",
    "personal_data": "INTEGER",
    "toxic": "INTEGER",
    "not_copied": "TEXT",
}
_REQUESTS_OF_1 = """
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
)
"""
# `behind` is the id that the next row of `requests` will have: it puts feedback into the same windows.
_OTHERS = (
    "CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS texts (request_id TEXT PRIMARY KEY, request TEXT NOT NULL, answer TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS feedback ("
    " id INTEGER PRIMARY KEY AUTOINCREMENT, request_id TEXT NOT NULL, at REAL NOT NULL,"
    " thumbs INTEGER, score REAL, conversion TEXT, behind INTEGER NOT NULL)",
    "CREATE INDEX IF NOT EXISTS requests_by_request ON requests (request_id)",
    "CREATE INDEX IF NOT EXISTS requests_by_served ON requests (name, served, shadow, id)",
    "CREATE INDEX IF NOT EXISTS requests_by_unit ON requests (coalesce(key_hash, conversation_hash), id)",
    "CREATE INDEX IF NOT EXISTS feedback_by_request ON feedback (request_id)",
    "CREATE INDEX IF NOT EXISTS feedback_by_window ON feedback (behind)",
)


def connect(path: Path) -> sqlite3.Connection:
    """Open the log for writing. Raises sqlite3.Error."""
    # Autocommit mode: the transactions are ours, begun with the write lock so that they never dead-lock.
    connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA secure_delete = ON")  # what is removed may be what somebody said
    connection.execute(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES}")
    connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
    return connection


def prepare(path: Path) -> bytes:
    """Create the log if there is none, and bring an older one up to date; the answer is its salt."""
    failure: Exception | None = None
    for _ in range(_ATTEMPTS):
        try:
            return _create(path)
        except sqlite3.OperationalError as error:
            # Turning on WAL does not wait for a gateway that does the same at this moment.
            failure = error
            time.sleep(_PAUSE_S)
        except (OSError, sqlite3.Error) as error:
            raise MetricsUnavailable(f"the traffic log {path} cannot be opened: {error}") from error
    raise MetricsUnavailable(f"the traffic log {path} cannot be opened: {failure}") from failure


def _create(path: Path) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(connect(path)) as connection:
        # It has an effect on a new file only; an older one keeps its size and fills its free pages again.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            _bring_up_to_date(connection, path)
            salt = secrets.token_hex(16)
            connection.execute("INSERT INTO meta VALUES ('salt', ?) ON CONFLICT DO NOTHING", (salt,))
            (salt,) = connection.execute("SELECT value FROM meta WHERE key = 'salt'").fetchone()
        return bytes.fromhex(salt)


def _bring_up_to_date(connection: sqlite3.Connection, path: Path) -> None:
    version = _version(connection)
    if version != SCHEMA_VERSION and version not in _MIGRATED_FROM:
        raise _wrong(path, version)
    connection.execute(_REQUESTS_OF_1)
    there = {row[1] for row in connection.execute("PRAGMA table_info(requests)")}
    for column, kind in _ADDED_IN_2.items():
        if column not in there:
            connection.execute(f"ALTER TABLE requests ADD COLUMN {column} {kind}")
    for statement in _OTHERS:
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def check_version(connection: sqlite3.Connection, path: Path) -> None:
    """Raise MetricsUnavailable unless the file has the schema of this code."""
    if (version := _version(connection)) != SCHEMA_VERSION:
        raise _wrong(path, version)


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _wrong(path: Path, version: int) -> MetricsUnavailable:
    return MetricsUnavailable(
        f"the traffic log {path} has schema {version}, not {SCHEMA_VERSION}",
        advice="A gateway of this version brings an older log up to date when it starts."
        if version < SCHEMA_VERSION
        else "It was written by a newer version of adapter-rollout: use that one here too.",
    )
