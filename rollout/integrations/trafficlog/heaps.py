"""How bad requests come in heaps: those of one unit in a look, beside what the unit asked before in this canary.

Units are dealt to the arms, and not requests: one that fails again in each look must not look like many. Only units with
a bad request in the look are asked about, by an index, so that a look costs the same however long the canary is.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from rollout.core.metric import Clusters, Comparison, Counts, Event, MetricSpec, Stage, Unit
from rollout.integrations.trafficlog.counting import (
    ARM,
    UNIT,
    Arm,
    arm_parameters,
    first_word,
    rule,
    within,
)

MOST_UNITS, MOST_ROWS = 200, 5_000
"""As many units of a look, and so many rows of each, are an estimate for all."""
_BEGAN = "SELECT min(id) - 1 FROM requests WHERE name = ? AND served = ? AND shadow = ?"


def heaps_of_arms(
    connection: sqlite3.Connection,
    spec: MetricSpec,
    comparison: Comparison,
    window: tuple[int, int],
    arms: tuple[Arm, Arm],
) -> tuple[Clusters, Clusters] | None:
    """Of stable and of the candidate; None where nobody knows whose any request is. A shadow's looks are by themselves.

    There both arms answer the same requests, so that no unit is one arm's.
    """
    if not any(arm.known.total for arm in arms):
        return None
    if comparison.stage is Stage.SHADOW:
        return _clusters(arms[0], []), _clusters(arms[1], [])
    past = before_look(connection, comparison, window)
    stable, candidate = (
        _clusters(arm, _past(connection, spec, comparison, served, past, arm))
        for arm, served in zip(arms, (comparison.stable, comparison.candidate), strict=True)
    )
    return stable, candidate


def before_look(
    connection: sqlite3.Connection, comparison: Comparison, window: tuple[int, int], *, shadow: bool = False
) -> tuple[int, int]:
    """The window of the candidate's time before a look: from its first request on, or from the first copy."""
    (began,) = connection.execute(_BEGAN, (comparison.name, comparison.candidate, shadow)).fetchone()
    return window[0] if began is None else min(began, window[0]), window[0]


def _past(
    connection: sqlite3.Connection,
    spec: MetricSpec,
    comparison: Comparison,
    served: str,
    past: tuple[int, int],
    arm: Arm,
) -> list[tuple[int, int]]:
    """(requests, bad ones) that each of the arm's units had there, in their order."""
    counts, bad = rule(spec, comparison.stage, "r")
    told = spec.event is Event.THUMBS_DOWN
    voice = "CAST(r.routed_at / 60 AS INTEGER)" if spec.per is Unit.UNIT_MINUTE else "r.id"
    sql = f"""
        SELECT count(*), coalesce(sum(bad), 0) FROM (SELECT max(bad) AS bad FROM (
            SELECT {voice} AS voice, {bad} AS bad FROM requests AS r INDEXED BY requests_by_unit
            {first_word("thumbs") if told else ""}
            WHERE {UNIT.format(row="r")} = :unit AND r.id <= :until AND {ARM} AND {counts}
              AND {within("f.behind" if told else "r.id")} ORDER BY r.id DESC LIMIT {MOST_ROWS}
        ) GROUP BY voice)
    """  # noqa: S608 - built from constants
    parameters = {**arm_parameters(comparison, served, past), "slow": spec.slow_after_ms}
    return [
        connection.execute(sql, {**parameters, "unit": unit}).fetchone()
        for unit, *_ in arm.heaps[:MOST_UNITS]
    ]


def _clusters(arm: Arm, past: list[tuple[int, int]]) -> Clusters:
    asked = arm.heaps[: len(past)] if past else arm.heaps
    return clusters_of(arm.known, asked, past or [(0, 0)] * len(asked))


def clusters_of(
    known: Counts, asked: Sequence[tuple[str, int, int]], before: Sequence[tuple[int, int]]
) -> Clusters:
    """What the units that were asked about show, as if all with a bad one had been.

    (unit, its requests in this look, bad ones) each, and (requests, bad ones) that it had `before`.
    """
    others = sum(bad * (own - 1 + 2 * more) for (_, own, bad), (more, _) in zip(asked, before, strict=True))
    alike = sum(bad * (bad - 1 + 2 * more) for (_, _, bad), (_, more) in zip(asked, before, strict=True))
    seen, whole = sum(bad for *_, bad in asked), known.bad
    return Clusters(
        total=known.total,
        bad=whole,
        others=others * whole // seen if seen else 0,
        alike=alike * whole // seen if seen else 0,
    )
