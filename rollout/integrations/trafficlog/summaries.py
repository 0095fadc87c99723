"""What each served adapter answered, and what was said of it, over the whole log."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, fields

from rollout.integrations.trafficlog.counting import GOOD, LEFT


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedCounts:
    """What a served adapter answered, from all rows of the log.

    `failed` is every request whose client stayed and got no good answer, for whatever reason; `server_errors`
    (5xx) and `lost` (no answer at all) are parts of it. `client_left` are in `total` and in nothing else.
    """

    total: int
    failed: int
    server_errors: int
    lost: int
    client_left: int
    shadow: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackCounts:
    """What users said of a served adapter: of `answers` answers something, each answer with its last word.

    `mean_score` is over the `scored` answers and None if there is none. `conversions` counts answers by the name
    of what came of them.
    """

    answers: int
    thumbs_up: int
    thumbs_down: int
    scored: int
    mean_score: float | None
    conversions: Mapping[str, int]


def served_counts(connection: sqlite3.Connection, name: str) -> Mapping[str, ServedCounts]:
    """By served adapter of one logical name."""
    good, left = GOOD.format(row="r"), LEFT.format(row="r")
    sql = f"""
        SELECT served, sum(shadow = 0), sum(shadow = 0 AND NOT {left} AND NOT {good}),
               sum(shadow = 0 AND status >= 500), sum(shadow = 0 AND status = 0),
               sum(shadow = 0 AND {left}), sum(shadow)
        FROM requests AS r WHERE name = ? GROUP BY served
    """  # noqa: S608 - built from constants
    names = [field.name for field in fields(ServedCounts)]
    rows = connection.execute(sql, (name,)).fetchall()
    return {served: ServedCounts(**dict(zip(names, counts, strict=True))) for served, *counts in rows}


def feedback(connection: sqlite3.Connection, name: str) -> Mapping[str, FeedbackCounts]:
    """By served adapter of one logical name."""
    rows = connection.execute(_LAST_WORDS, (name,)).fetchall()
    converted: dict[str, dict[str, int]] = {}
    for served, conversion, number in connection.execute(_CONVERSIONS, (name,)):
        converted.setdefault(served, {})[conversion] = number
    return {
        served: FeedbackCounts(
            answers=answers,
            thumbs_up=up,
            thumbs_down=down,
            scored=scored,
            mean_score=mean,
            conversions=converted.get(served, {}),
        )
        for served, answers, up, down, scored, mean in rows
    }


def _last(column: str) -> str:
    return (
        f"(SELECT f.{column} FROM feedback AS f WHERE f.request_id = r.request_id"  # noqa: S608
        f" AND f.{column} IS NOT NULL ORDER BY f.id DESC LIMIT 1)"
    )


_LAST_WORDS = f"""
    SELECT served, count(*), coalesce(sum(thumbs > 0), 0), coalesce(sum(thumbs < 0), 0), count(score), avg(score)
    FROM (
        SELECT r.served AS served, {_last("thumbs")} AS thumbs, {_last("score")} AS score
        FROM requests AS r
        WHERE r.name = ? AND r.shadow = 0 AND r.request_id IN (SELECT request_id FROM feedback)
    )
    GROUP BY served
"""  # noqa: S608 - built from constants
_CONVERSIONS = """
    SELECT r.served, f.conversion, count(DISTINCT r.request_id)
    FROM feedback AS f JOIN requests AS r ON r.request_id = f.request_id
    WHERE r.name = ? AND r.shadow = 0 AND f.conversion IS NOT NULL
    GROUP BY r.served, f.conversion
"""
