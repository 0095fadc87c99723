"""A statement with bound parameters, asked of files or of a database."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from rollout.core.environment import SqlProvider
from rollout.core.metric import MetricSpec, Query
from rollout.core.query import Question, names_of, parameters_of
from rollout.integrations.providers.answer import Answer, Unanswered
from rollout.integrations.providers.rows import Rows


class SqlAsked:
    """Asks DuckDB for files below a folder, or the database that an environment variable names."""

    def __init__(self, document: SqlProvider, root: Path) -> None:
        self._document = document
        self._root = root

    def shown(self, query: Query, question: Question) -> str:
        """The statement, and what was bound to it."""
        bound = ", ".join(f"{name}={value!r}" for name, value in sorted(_bound(query, question).items()))
        return f"{query.ask} [{bound}]"

    def ask(self, spec: MetricSpec, query: Query, question: Question) -> Answer:  # noqa: ARG002 - the shape of `Asked`
        """The columns that the query names, of all rows."""
        statement, bound = query.ask or "", _bound(query, question)
        columns = tuple(
            dict.fromkeys(name for each in (query.total, query.bad, query.values) for name in names_of(each))
        )
        if self._document.folder is not None:
            return self._of_files(self._root / self._document.folder, statement, bound, columns)
        return self._of_database(statement, bound, columns)

    def _of_files(
        self, folder: Path, statement: str, bound: Mapping[str, str | int], columns: Sequence[str]
    ) -> Rows:
        from rollout.integrations.providers.sqlfiles import ask_files

        return ask_files(folder, statement, bound, columns, seconds=self._document.timeout_s)

    def _of_database(self, statement: str, bound: Mapping[str, str | int], columns: Sequence[str]) -> Rows:
        from rollout.integrations.providers.sqldatabase import ask_database

        variable = self._document.url_env or ""
        if not (url := os.environ.get(variable)):
            raise Unanswered(f"the environment variable {variable}, which holds its URL, is not set")
        return ask_database(url, statement, bound, columns, seconds=self._document.timeout_s)


def _bound(query: Query, question: Question) -> dict[str, str | int]:
    """Only what the statement has: databases refuse a value without a place."""
    facts = question.facts()
    wanted = parameters_of(query.ask or "")
    if unknown := sorted(wanted - facts.keys()):
        raise Unanswered(f"there is no parameter :{unknown[0]}")
    return {name: facts[name] for name in wanted}
