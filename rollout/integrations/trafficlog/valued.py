"""Times and scores of single answers, as SQL over the log's rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

from rollout.core.metric import Comparison, Measure, MetricSpec, Moments, Score
from rollout.core.seen import Timed
from rollout.errors import Unreadable
from rollout.integrations.trafficlog.counting import (
    ARM,
    GOOD,
    NUMBER,
    PAIR,
    PAIRED,
    ROWS,
    TIMED_OUT,
    UNIT,
    arm_parameters,
    first_words,
    pair_parameters,
    within,
)

Answered = tuple[float, int | None, str | None]
"""An answer's milliseconds and tokens (see `Timed`), and the unit that asked for it, None if nobody knows."""
_TOKENS = "{row}.completion_tokens"
_TIMES: Mapping[Measure, tuple[str, str]] = {
    # The first token waits for the prompt to be read, all others for those before them.
    Measure.FIRST_TOKEN: ("{row}.first_token_ms", "{row}.prompt_tokens"),
    Measure.INTER_TOKEN: ("{row}.inter_token_ms", _TOKENS),
    Measure.END_TO_END: ("{row}.latency_ms", _TOKENS),
    Measure.PER_TOKEN: (f"(CASE WHEN {_TOKENS} > 0 THEN {{row}}.latency_ms / {_TOKENS} END)", _TOKENS),
}
"""The time, and the tokens that it depends on."""
_SCORES: Mapping[Score, tuple[str, str]] = {
    Score.FORMAT: ("{row}.format_valid", GOOD),
    Score.COMPLIANCE: ("(1 - {row}.refused)", GOOD),
    Score.FEEDBACK: ("f.score", "f.score BETWEEN 0 AND 1"),
}
"""The score, and what an answer must be beside having one."""


def times_of_arm(
    connection: sqlite3.Connection,
    spec: MetricSpec,
    comparison: Comparison,
    served: str,
    window: tuple[int, int],
) -> Sequence[Answered]:
    """Of each good answer that has the time, and of each time-out."""
    time, tokens, counts = time_of(spec, "r")
    sql = f"SELECT {time}, {tokens}, {UNIT.format(row='r')} FROM {ROWS[0]} WHERE {ARM} AND {within(ROWS[1])} AND {counts}"  # noqa: S608
    return connection.execute(sql, arm_parameters(comparison, served, window)).fetchall()


def timed(answers: Sequence[Answered]) -> Sequence[Timed]:
    """The same, whoever asked."""
    return [answer[:2] for answer in answers]


def times_of_pairs(
    connection: sqlite3.Connection, spec: MetricSpec, comparison: Comparison, window: tuple[int, int]
) -> tuple[Sequence[Timed], Sequence[Timed]]:
    """Of both answers of a pair, or of neither: an answer whose other half has no time compares with nothing."""
    stable, candidate = time_of(spec, "s"), time_of(spec, "c")
    sql = f"""
        SELECT {stable[0]}, {stable[1]}, {candidate[0]}, {candidate[1]} FROM {PAIRED}
        WHERE {PAIR} AND {within("c.id")} AND {stable[2]} AND {candidate[2]}
    """  # noqa: S608 - built from constants
    rows = connection.execute(sql, pair_parameters(comparison, window)).fetchall()
    return [row[:2] for row in rows], [row[2:] for row in rows]


def scores_of_arm(
    connection: sqlite3.Connection,
    spec: MetricSpec,
    comparison: Comparison,
    served: str,
    window: tuple[int, int],
) -> Mapping[str | None, Moments]:
    """By unit, of the answers that have the score; an answer that users scored belongs to the window of their first word."""
    score, counts = score_of(spec, "r")
    source, id_ = (first_words("score"), "f.behind") if spec.score is Score.FEEDBACK else ROWS
    sql = f"""
        SELECT unit, count(value), total(value), total(value * value) FROM (
            SELECT {UNIT.format(row="r")} AS unit, {score} AS value
            FROM {source} WHERE {ARM} AND {within(id_)} AND {counts}
        ) GROUP BY unit
    """  # noqa: S608 - built from constants
    rows = connection.execute(sql, arm_parameters(comparison, served, window)).fetchall()
    return {unit: Moments(number=number, sum=total, squares=squares) for unit, number, total, squares in rows}


def scores_of_pairs(
    connection: sqlite3.Connection, spec: MetricSpec, comparison: Comparison, window: tuple[int, int]
) -> Sequence[tuple[float, float, str | None]]:
    """(stable's, candidate's, the unit) of the pairs that have both, in the order of the copies' rows."""
    stable, candidate = score_of(spec, "s"), score_of(spec, "c")
    sql = f"""
        SELECT {stable[0]}, {candidate[0]}, {UNIT.format(row="c")} FROM {PAIRED}
        WHERE {PAIR} AND {within("c.id")} AND {stable[1]} AND {candidate[1]} ORDER BY c.id
    """  # noqa: S608 - built from constants
    return connection.execute(sql, pair_parameters(comparison, window)).fetchall()


def time_of(spec: MetricSpec, row: str) -> tuple[str, str, str]:
    """(the time, the tokens, when a row counts). Who waited for an adapter's load does not tell how fast it is."""
    if spec.measure is None:
        raise Unreadable(f"metric {spec.id}: the traffic log does not measure it")
    time, tokens = _TIMES[spec.measure]
    late = TIMED_OUT.format(row=row)
    is_time = f"{GOOD.format(row=row)} AND {NUMBER.format(value=time.format(row=row))}"
    return (
        f"CASE WHEN {late} THEN 9e999 ELSE {time.format(row=row)} END",
        tokens.format(row=row),
        f"{row}.cold = 0 AND ({late} OR ({is_time}))",
    )


def score_of(spec: MetricSpec, row: str) -> tuple[str, str]:
    """(the score, when a row counts)"""
    if spec.score is None:
        raise Unreadable(f"metric {spec.id}: the traffic log does not measure it")
    score, counts = (each.format(row=row) for each in _SCORES[spec.score])
    return score, f"({counts} AND {score} IS NOT NULL)"
