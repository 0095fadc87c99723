"""Rows of the log as they were recorded, and pairs of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import fields

from rollout.core.metric import Comparison, ErrorClass, Pair, RequestRecord, Texts
from rollout.integrations.trafficlog.counting import COMPLETE, PAIRED

_COLUMNS = tuple(field.name for field in fields(RequestRecord))
_FLAGS = frozenset(field.name for field in fields(RequestRecord) if "bool" in str(field.type))
_LARGEST_ID = 2**63 - 1


def rows_behind(
    connection: sqlite3.Connection, after: int, limit: int
) -> Sequence[tuple[int, RequestRecord]]:
    """Rows with a higher id, oldest first, at most `limit`."""
    rows = connection.execute(
        f"SELECT id, {_selected('r')} FROM requests AS r WHERE id > ? ORDER BY id LIMIT ?",  # noqa: S608
        (min(after, _LARGEST_ID), max(0, limit)),
    )
    return [(row, _record(values)) for row, *values in rows]


def complete_pairs(
    connection: sqlite3.Connection, comparison: Comparison, since: float, limit: int
) -> list[tuple[int, int]]:
    """The ids (stable, copy) of pairs, newest first."""
    sql = f"""
        SELECT s.id, c.id FROM {PAIRED}
        WHERE c.name = ? AND c.served = ? AND c.shadow = 1 AND s.served = ? AND c.routed_at >= ? AND {COMPLETE}
        ORDER BY c.id DESC LIMIT ?
    """  # noqa: S608 - built from constants
    names = comparison.name, comparison.candidate, comparison.stable
    return connection.execute(sql, (*names, since, max(0, limit))).fetchall()


def pairs_at(connection: sqlite3.Connection, ids: Sequence[tuple[int, int]]) -> list[Pair]:
    """The pairs of these ids that are still there, with the texts that were kept."""
    found = []
    for stable, copy in ids:
        both = _with_texts(connection, stable), _with_texts(connection, copy)
        if both[0] is not None and both[1] is not None:
            (one, one_texts), (other, other_texts) = both[0], both[1]
            found.append(
                Pair(stable=one, candidate=other, stable_texts=one_texts, candidate_texts=other_texts)
            )
    return found


def _with_texts(connection: sqlite3.Connection, row: int) -> tuple[RequestRecord, Texts | None] | None:
    values = connection.execute(
        f"SELECT {_selected('r')}, t.request, t.answer FROM requests AS r"  # noqa: S608
        " LEFT JOIN texts AS t ON t.request_id = r.request_id WHERE r.id = ?",
        (row,),
    ).fetchone()
    if values is None:
        return None
    request, answer = values[-2:]
    return _record(values[:-2]), None if request is None else Texts(request=request, answer=answer)


def _selected(row: str) -> str:
    return ", ".join(f"{row}.{column}" for column in _COLUMNS)


def _record(values: Sequence[object]) -> RequestRecord:
    row = dict(zip(_COLUMNS, values, strict=True))
    for flag in _FLAGS:
        row[flag] = None if row[flag] is None else bool(row[flag])
    if row["error_class"] is not None:
        row["error_class"] = ErrorClass(str(row["error_class"]))
    return RequestRecord(**row)  # type: ignore[arg-type]
