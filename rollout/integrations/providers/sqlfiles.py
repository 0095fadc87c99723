"""DuckDB over the files of one folder: it reads there, and reaches nothing else."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rollout.core.plain import plain
from rollout.core.query import rewritten
from rollout.integrations.providers.answer import Unanswered
from rollout.integrations.providers.hidden import of_data
from rollout.integrations.providers.patience import within
from rollout.integrations.providers.rows import Rows, fetched

if TYPE_CHECKING:
    import duckdb

_LITERAL = re.compile(rb"'(?:[^']|'')*'")
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
                lambda: _selected(connection, _located(connection, statement, place), bound, columns),
                connection.interrupt,
            )
        finally:
            connection.close()
    except (duckdb.Error, ValueError, ArithmeticError) as error:
        raise Unanswered(f"DuckDB refuses it: {_said(error, place)}") from None


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
    present = {name: str(kind) for name, kind, *_ in cursor.description or ()}
    for name in columns:
        # To fetch one DuckDB asks for another package, which would hide that it is no number in any case.
        if "TIME ZONE" in (kind := present.get(name, "")):
            raise Unanswered(f"{name} is of type {kind}, and no number")
    return fetched([column[0] for column in cursor.description or ()], cursor.fetchmany, columns)


def _located(connection: duckdb.DuckDBPyConnection, statement: str, place: Path) -> str:
    """The statement in DuckDB's words: `$name`, and files by their whole paths."""
    text = rewritten(statement, lambda name: f"${name}", lambda text: text).encode()
    for at in sorted(_places_of_files(connection, text.decode()), reverse=True):
        literal = _LITERAL.match(text, at)
        if literal is not None and not literal[0].startswith(b"'/"):
            whole = _quoted(f"{place}/").encode()[:-1] + literal[0][1:]
            text = text[: literal.start()] + whole + text[literal.end() :]
    return text.decode()


def _places_of_files(connection: duckdb.DuckDBPyConnection, statement: str) -> set[int]:
    """Where DuckDB's own parser sees the name of a file, in bytes from the beginning.

    A string behind `FROM` is not always one: `IS NOT DISTINCT FROM 'x'`. Whatever is missed here DuckDB refuses to
    read, for it is no whole path within the folder.
    """
    (tree,) = connection.execute("SELECT json_serialize_sql($1::VARCHAR)", [statement]).fetchall()[0]
    found: set[int] = set()
    unseen: list[object] = [json.loads(tree)]
    while unseen:
        node = unseen.pop()
        if isinstance(node, list):
            unseen += node
        elif isinstance(node, dict):
            unseen += node.values()
            found.update(each["query_location"] for each in _files_of(node) if "query_location" in each)
    return found


def _files_of(node: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The nodes of file names of one node: itself, or what a function that reads files is given first."""
    if node.get("type") == "BASE_TABLE":
        return [node]
    function = node.get("function")
    if node.get("type") != "TABLE_FUNCTION" or not isinstance(function, dict):
        return []
    first = [each["expression"] for each in function.get("arguments", ())[:1]]
    if first and first[0].get("function_name") == "list_value":
        first = [each["expression"] for each in first[0].get("arguments", ())]
    return [each for each in first if each.get("type") == "VALUE_CONSTANT"]


def _said(error: Exception, place: Path) -> str:
    """Why DuckDB refuses, in one line: those below show the data, or the statement again."""
    import duckdb

    said = str(error).replace(f"{place}/", "")
    about_data = not isinstance(error, duckdb.Error) or isinstance(
        error, duckdb.DataError | duckdb.InvalidInputException
    )
    return plain(of_data(said) if about_data else said.partition("\n")[0], 300, nothing=type(error).__name__)


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
