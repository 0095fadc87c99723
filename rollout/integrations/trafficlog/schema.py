"""The log's file: its tables, how it is opened for writing, and which version it must have."""

from __future__ import annotations

import secrets
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from rollout.errors import MetricsUnavailable

SCHEMA_VERSION = 2
BUSY_S = 5.0
_ATTEMPTS = 3
_PAUSE_S = 0.05

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
    output_chars INTEGER NOT NULL,
    error_class TEXT,
    conversation_hash TEXT,
    path TEXT NOT NULL DEFAULT '',
    streamed INTEGER NOT NULL DEFAULT 0,
    replica TEXT,
    cold INTEGER NOT NULL DEFAULT 0,
    retry_of TEXT,
    pinned INTEGER NOT NULL DEFAULT 0,
    first_token_ms REAL,
    inter_token_ms REAL,
    prompt_tokens INTEGER,
    finish_reason TEXT,
    refused INTEGER,
    personal_data INTEGER,
    toxic INTEGER
);
CREATE INDEX IF NOT EXISTS requests_by_request ON requests (request_id);
CREATE INDEX IF NOT EXISTS requests_by_served ON requests (name, served, shadow, id);
PRAGMA user_version = {SCHEMA_VERSION};
"""


def connect(path: Path) -> sqlite3.Connection:
    """Open the log for writing. Raises sqlite3.Error."""
    # Autocommit mode: the transactions are ours, begun with the write lock so that they never dead-lock.
    connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def prepare(path: Path) -> bytes:
    """Create the log if there is none; the answer is its salt."""
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
        connection.execute("PRAGMA journal_mode = WAL")
        check_version(connection, path, fresh_too=True)
        connection.executescript(f"BEGIN IMMEDIATE; {_CREATE} COMMIT;")
        salt = secrets.token_hex(16)
        connection.execute("INSERT INTO meta VALUES ('salt', ?) ON CONFLICT DO NOTHING", (salt,))
        (salt,) = connection.execute("SELECT value FROM meta WHERE key = 'salt'").fetchone()
        return bytes.fromhex(salt)


def check_version(connection: sqlite3.Connection, path: Path, *, fresh_too: bool = False) -> None:
    """Raise MetricsUnavailable unless the file has the schema of this code, or none yet if that will do."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != SCHEMA_VERSION and not (fresh_too and version == 0):
        raise MetricsUnavailable(f"the traffic log {path} has schema {version}, not {SCHEMA_VERSION}")
