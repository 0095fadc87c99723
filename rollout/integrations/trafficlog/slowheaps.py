"""How the slowest answers come in heaps: those of one unit in a look, beside what it asked before in this canary.

A user whose every answer is long, or who sits far away, is slow in each look and says no more than in the first. What
was answered before is slow where it would be among the slowest of this look.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence

from rollout.core.marks import LENGTHS, length_class
from rollout.core.metric import Clusters, Comparison, Counts, MetricSpec
from rollout.core.observed import quantile_name
from rollout.core.slowest import Slowest, slowest
from rollout.integrations.trafficlog.counting import ARM, UNIT, arm_parameters, within
from rollout.integrations.trafficlog.heaps import MOST_ROWS, MOST_UNITS, before_look, clusters_of
from rollout.integrations.trafficlog.valued import Answered, time_of, timed

Heap = tuple[str, int, int]


def heaps_of_times(
    connection: sqlite3.Connection,
    spec: MetricSpec,
    comparison: Comparison,
    window: tuple[int, int],
    arms: tuple[Sequence[Answered], Sequence[Answered]],
) -> Mapping[str, tuple[Clusters, Clusters]]:
    """Of stable and of the candidate, by quantile; nothing without both arms, or where nobody knows who asked."""
    if not all(arms) or all(unit is None for arm in arms for *_, unit in arm):
        return {}
    marks = slowest(spec, timed([*arms[0], *arms[1]]))
    past = before_look(connection, comparison, window)
    found: dict[str, list[Clusters]] = {quantile_name(each): [] for each in spec.quantiles}
    for arm, served in zip(arms, (comparison.stable, comparison.candidate), strict=True):
        asked = _Past(connection, spec, comparison, served, past, marks)
        whole = Counter(unit for *_, unit in arm if unit is not None)
        for place, quantile in enumerate(spec.quantiles):
            slow = Counter(
                unit for each, tokens, unit in arm if unit is not None and marks.has(quantile, each, tokens)
            )
            heaps = [(unit, whole[unit], slow[unit]) for unit in sorted(slow)[:MOST_UNITS]]
            known = Counts(total=whole.total(), bad=slow.total())
            before = [asked.of(unit, place) for unit, *_ in heaps]
            found[quantile_name(quantile)].append(clusters_of(known, heaps, before))
    return {name: (both[0], both[1]) for name, both in found.items()}


class _Past:
    """What units of one arm asked before the look; each is read once, for all quantiles."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        spec: MetricSpec,
        comparison: Comparison,
        served: str,
        past: tuple[int, int],
        marks: Slowest,
    ) -> None:
        time, tokens, counts = time_of(spec, "r")
        slow = ", ".join(
            f"coalesce(sum(time >= {_mark(place)}), 0)" for place, _ in enumerate(spec.quantiles)
        )
        self._sql = f"""
            SELECT count({_mark(0)}), {slow} FROM (
                SELECT {time} AS time, {tokens} AS tokens FROM requests AS r INDEXED BY requests_by_unit
                WHERE {UNIT.format(row="r")} = :unit AND r.id <= :until AND {ARM} AND {counts}
                  AND {within("r.id")} ORDER BY r.id DESC LIMIT {MOST_ROWS}
            )
        """  # noqa: S608 - built from constants
        self._parameters = {**arm_parameters(comparison, served, past), **_edges(spec, marks)}
        self._connection, self._empty = connection, past[0] >= past[1]
        self._read: dict[str, Sequence[int]] = {}

    def of(self, unit: str, place: int) -> tuple[int, int]:
        """(answers, slow ones) of the unit, by the quantile at this place of the metric's."""
        if self._empty:
            return 0, 0
        if unit not in self._read:
            self._read[unit] = self._connection.execute(
                self._sql, {**self._parameters, "unit": unit}
            ).fetchone()
        number, *slow = self._read[unit]
        return number, slow[place]


def _mark(place: int) -> str:
    """From which time on an answer is slow, by its tokens; null where the look has none of its length."""
    cases = "".join(f" WHEN tokens <= {edge} THEN :mark_{place}_{edge}" for edge in LENGTHS)
    lost = f"WHEN time >= 9e999 THEN :mark_{place}_lost WHEN tokens IS NULL THEN :mark_{place}_unknown"
    return f"CASE {lost}{cases} ELSE :mark_{place}_more END"


def _edges(spec: MetricSpec, marks: Slowest) -> dict[str, float | None]:
    lengths = {str(edge): length_class(edge) for edge in LENGTHS}
    lengths |= {
        "more": length_class(LENGTHS[-1] + 1),
        "unknown": length_class(None),
        "lost": marks.commonest,
    }
    return {
        f"mark_{place}_{name}": marks.from_ms[quantile].get(length if spec.by_length else "")
        for place, quantile in enumerate(spec.quantiles)
        for name, length in lengths.items()
    }
