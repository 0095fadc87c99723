"""DuckDB over the files of one folder: it reads there, and reaches nothing else."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rollout.core.plain import plain
from rollout.core.query import rewritten
from rollout.integrations.providers.answer import Unanswered
from rollout.integrations.providers.patience import within
from rollout.integrations.providers.rows import Rows, fetched

if TYPE_CHECKING:
    import duckdb

_FILE = re.compile(
    r"""(?P<before>\b(?:from|join)\s+|\bread_(?:csv|csv_auto|json|json_auto|ndjson|parquet)\s*\(\s*)"""
    r"""'(?P<path>(?!/)[^']+)'""",
    re.IGNORECASE,
)
_BEFORE_LOCK = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    # Without this a table may be any variable of this process.
    "python_enable_replacements": "false",
    "memory_limit": "1GB",
    "threads": "2",
}


def ask_files(
    folder: Path, statement: str, bound: Mapping[str, str | int], columns: Sequence[str], *, seconds: float
) -> Rows:
    """The columns of a SELECT whose files are named by their paths below `folder`. Raises Unanswered.

    Nothing outside of the folder is read, also through no link; nothing is written, fetched or loaded.
    """
    import_duckdb()
    import duckdb

    place = folder.resolve()
    _refuse_ways_out(place)
    try:
        connection = _locked(place)
        try:
            return within(
                seconds,
                lambda: _selected(connection, _located(statement, place), bound, columns),
                connection.interrupt,
            )
        finally:
            connection.close()
    except duckdb.Error as error:
        raise Unanswered(f"DuckDB refuses it: {plain(str(error), 300, nothing='no reason')}") from None


def import_duckdb() -> None:
    """Raises Unanswered where the extra is missing."""
    try:
        import duckdb  # noqa: F401
    except ImportError:
        raise Unanswered("DuckDB is not installed here: pip install 'adapter-rollout[sql]'") from None


def _locked(place: Path) -> duckdb.DuckDBPyConnection:
    import duckdb

    connection = duckdb.connect(":memory:", config=_BEFORE_LOCK)
    connection.execute("SET temp_directory = ''")
    connection.execute(f"SET allowed_directories = [{_quoted(f'{place}/')}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def _selected(
    connection: duckdb.DuckDBPyConnection,
    statement: str,
    bound: Mapping[str, str | int],
    columns: Sequence[str],
) -> Rows:
    import duckdb

    parsed = connection.extract_statements(statement)
    # It may write to the folder, so that it is held to reading.
    if len(parsed) != 1 or parsed[0].type is not duckdb.StatementType.SELECT:
        raise Unanswered("it is not one SELECT")
    cursor = connection.execute(parsed[0], dict(bound) or None)
    return fetched([column[0] for column in cursor.description or ()], cursor.fetchmany, columns)


def _located(statement: str, place: Path) -> str:
    """The statement in DuckDB's words: `$name`, and files by their whole paths."""
    in_its_words = rewritten(statement, lambda name: f"${name}", lambda text: text)
    return _FILE.sub(lambda found: found["before"] + _quoted(str(place / found["path"])), in_its_words)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _refuse_ways_out(place: Path) -> None:
    """Raises Unanswered for a folder that is none, or has a link that leads out of it."""
    if not place.is_dir():
        raise Unanswered(f"there is no folder {place.name}")
    for folder, folders, files in os.walk(place):
        for name in (*folders, *files):
            found = Path(folder, name)
            if found.is_symlink() and not found.resolve().is_relative_to(place):
                raise Unanswered(f"{found.relative_to(place)} is a link that leads out of the folder")
