"""Any database that SQLAlchemy speaks to: read only where it can be, and its address is shown nowhere."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rollout.core.plain import plain
from rollout.core.query import rewritten
from rollout.integrations.providers.answer import Unanswered
from rollout.integrations.providers.hidden import of_data, without
from rollout.integrations.providers.patience import within
from rollout.integrations.providers.rows import Rows, fetched

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine


def ask_database(
    url: str, statement: str, bound: Mapping[str, str | int], columns: Sequence[str], *, seconds: float
) -> Rows:
    """The columns of a SELECT, which is rolled back whatever it was. Raises Unanswered, without the URL.

    PostgreSQL, MySQL and MariaDB are told that the transaction only reads and how long it may take; a file of SQLite is
    opened for reading. Of other databases it is the account that must not be able to write.
    """
    try:
        from sqlalchemy.exc import ArgumentError, NoSuchModuleError
    except ImportError:
        raise Unanswered("SQLAlchemy is not installed here: pip install 'adapter-rollout[sql]'") from None
    asking = _Asking(statement, bound, columns, seconds)
    try:
        return within(seconds, lambda: asking.run(url), asking.stop)
    except NoSuchModuleError:
        raise Unanswered("there is no driver for this kind of database here") from None
    except (ArgumentError, ValueError):
        raise Unanswered("its URL is none that SQLAlchemy can read") from None
    except ImportError as error:
        raise Unanswered(f"the driver {error.name or 'of this database'} is not installed here") from None


class _Asking:
    """One statement under way, which can be broken off."""

    def __init__(
        self, statement: str, bound: Mapping[str, str | int], columns: Sequence[str], seconds: float
    ) -> None:
        self._statement = statement
        self._bound = bound
        self._columns = columns
        self._milliseconds = max(1, int(seconds * 1000))
        self._file: sqlite3.Connection | None = None

    def run(self, url: str) -> Rows:
        from sqlalchemy import make_url
        from sqlalchemy.exc import SQLAlchemyError

        address = make_url(url)
        engine = self._engine(address)
        try:
            try:
                connection = engine.connect()
            except (SQLAlchemyError, sqlite3.Error, OSError) as error:
                raise Unanswered(f"it cannot be reached: {type(error).__name__}") from None
            with connection:
                try:
                    return self._selected(connection)
                except Unanswered:
                    raise
                except SQLAlchemyError as error:
                    raise Unanswered(f"the database refuses it: {_said(error, url, address)}") from None
                except Exception as error:  # Of a driver, for example over a date that Python has not.
                    raise Unanswered(f"its rows cannot be read: {type(error).__name__}") from None
                finally:
                    with suppress(SQLAlchemyError):
                        connection.rollback()
        finally:
            engine.dispose()

    def stop(self) -> None:
        """From another thread. Other databases end a statement themselves, or are left to do it."""
        if self._file is not None:
            self._file.interrupt()

    def _engine(self, address: URL) -> Engine:
        from sqlalchemy import create_engine
        from sqlalchemy.pool import NullPool

        more: dict[str, Any] = {}
        if address.get_backend_name() == "sqlite":
            more["creator"] = lambda: self._opened(address.database)
        return create_engine(address, poolclass=NullPool, hide_parameters=True, **more)

    def _opened(self, path: str | None) -> sqlite3.Connection:
        if not path or path == ":memory:" or path.startswith("file:"):
            raise Unanswered("of SQLite only a file by its plain path is read")
        self._file = sqlite3.connect(f"{Path(path).absolute().as_uri()}?mode=ro", uri=True)
        return self._file

    def _selected(self, connection: Connection) -> Rows:
        from sqlalchemy import text

        reading = self._reading(connection)
        said = rewritten(self._statement, lambda name: f":{name}", lambda other: other.replace(":", r"\:"))
        # Only the statement is streamed: what came before it cannot be.
        result = reading.execute(text(said).execution_options(stream_results=True), dict(self._bound))
        return fetched(list(result.keys()), result.fetchmany, self._columns)

    def _reading(self, connection: Connection) -> Connection:
        """Only reading, and for so long only, in the words of the database."""
        dialect = connection.dialect
        match dialect.name:
            case "postgresql":
                connection = connection.execution_options(postgresql_readonly=True)
                connection.exec_driver_sql(f"SET LOCAL statement_timeout = {self._milliseconds}")
            case "mysql" | "mariadb":
                limit = (
                    f"max_statement_time = {self._milliseconds / 1000}"
                    if getattr(dialect, "is_mariadb", False)
                    else f"max_execution_time = {self._milliseconds}"
                )
                connection.exec_driver_sql(f"SET SESSION {limit}")
                connection.exec_driver_sql("START TRANSACTION READ ONLY")
            case "sqlite":
                connection.exec_driver_sql("PRAGMA query_only = ON")
            case "oracle":
                connection.exec_driver_sql("SET TRANSACTION READ ONLY")
        return connection


def _said(error: Exception, url: str, address: URL) -> str:
    """Why the database refuses, without any part of its address, and of an error about data without the data."""
    from sqlalchemy.exc import DataError, IntegrityError, InternalError

    # Whatever cuts it comes after: the data may begin in the middle of a secret, of which the first half would stay.
    said = without(_secrets(url, address), str(getattr(error, "orig", None) or type(error).__name__))
    if isinstance(error, DataError | IntegrityError | InternalError):
        said = f"{type(error).__name__}: {of_data(said)}"
    return plain(said, 300, nothing="no reason")


def _secrets(url: str, address: URL) -> list[str]:
    """Where the database is, who asks it, and with which password: as it was written, and as it was read."""
    account = url.partition("://")[2].rpartition("@")[0]
    options = [
        each for value in address.query.values() for each in ([value] if isinstance(value, str) else value)
    ]
    read = [address.render_as_string(hide_password=False), address.host, address.username, address.password]
    return [url, account, account.partition(":")[2], *options, *(str(each) for each in read if each)]
