"""How like each other scores of one unit are: those of a look, beside what the unit had before in this release.

Whoever scores high scores high in each look, and says no more than in the first. Of pairs the same is asked of their
differences. Only units of the look are asked about, by an index, so that a look costs the same however long it all is.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from rollout.core.alike import NOTHING, alike
from rollout.core.metric import Alike, Comparison, MetricSpec, Moments, Score
from rollout.integrations.trafficlog.counting import (
    ARM,
    COPIED,
    PAIR,
    UNIT,
    arm_parameters,
    first_word,
    pair_parameters,
    within,
)
from rollout.integrations.trafficlog.heaps import MOST_ROWS, MOST_UNITS, before_look
from rollout.integrations.trafficlog.valued import score_of

ScoresByUnit = Mapping[str | None, Moments]


def alike_of_arms(
    connection: sqlite3.Connection,
    spec: MetricSpec,
    comparison: Comparison,
    window: tuple[int, int],
    arms: tuple[ScoresByUnit, ScoresByUnit],
) -> tuple[Alike, ...]:
    """Of stable and of the candidate; nothing where nobody knows whose any score is."""
    known = [{unit: own for unit, own in arm.items() if unit is not None} for arm in arms]
    if not any(known):
        return ()
    past = before_look(connection, comparison, window)
    score, counts = score_of(spec, "r")
    told = spec.score is Score.FEEDBACK
    sql = _SUMS.format(
        value=score,
        source=f"requests AS r INDEXED BY requests_by_unit {first_word('score') if told else ''}",
        rows=f"{UNIT.format(row='r')} = :unit AND r.id <= :until AND {ARM} AND {counts}"
        f" AND {within('f.behind' if told else 'r.id')} ORDER BY r.id",
    )
    return tuple(
        _with_past(connection, sql, arm_parameters(comparison, served, past), arm)
        for arm, served in zip(known, (comparison.stable, comparison.candidate), strict=True)
    )


def alike_of_pairs(
    connection: sqlite3.Connection,
    spec: MetricSpec,
    comparison: Comparison,
    window: tuple[int, int],
    differences: Mapping[str, Moments],
) -> tuple[Alike, ...]:
    """Of pairs, by the unit of their copies; nothing where nobody knows whose any is."""
    if not differences:
        return ()
    past = before_look(connection, comparison, window, shadow=True)
    stable, candidate = score_of(spec, "s"), score_of(spec, "c")
    sql = _SUMS.format(
        value=f"{candidate[0]} - {stable[0]}",
        source=f"requests AS c INDEXED BY requests_by_unit {COPIED}",
        rows=f"{UNIT.format(row='c')} = :unit AND {PAIR} AND {within('c.id')}"
        f" AND {stable[1]} AND {candidate[1]} ORDER BY c.id",
    )
    return (_with_past(connection, sql, pair_parameters(comparison, past), differences),)


_SUMS = f"""
    SELECT count(*), total(value)
    FROM (SELECT {{value}} AS value FROM {{source}} WHERE {{rows}} DESC LIMIT {MOST_ROWS})
"""  # noqa: S608 - built from constants


def _with_past(
    connection: sqlite3.Connection,
    sql: str,
    parameters: Mapping[str, str | int | float | None],
    known: Mapping[str, Moments],
) -> Alike:
    empty = parameters["since"] == parameters["until"]
    before = {
        unit: NOTHING if empty else connection.execute(sql, {**parameters, "unit": unit}).fetchone()
        for unit in sorted(known)[:MOST_UNITS]
    }
    return alike(known, before)
