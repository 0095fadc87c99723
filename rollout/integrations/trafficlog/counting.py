"""What a metric counts, as SQL over the log's rows."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from rollout.core.metric import Comparison, Counts, Event, MetricSpec, Stage, Unit
from rollout.errors import Unreadable

_PATIENCE_MS = 10_000
# Everything else is bad: there is no status that a candidate could answer with and be counted nowhere.
GOOD = "({row}.status BETWEEN 200 AND 299 AND {row}.error IS NULL)"
LEFT = "({row}.status = 499 AND {row}.error IS NULL)"
# What a tester chose, and what stable answered in the candidate's place, was not dealt at random.
DEALT = "({row}.pinned = 0 AND {row}.retry_of IS NULL)"
_HASTY = f"({LEFT} AND ({{row}}.first_byte_ms IS NOT NULL OR {{row}}.latency_ms < {_PATIENCE_MS}))"
_REJECTED = "({row}.status BETWEEN 400 AND 499 AND {row}.status NOT IN (408, 429) AND {row}.error IS NULL)"
_UNIT = "coalesce({row}.key_hash, {row}.conversation_hash, {row}.id), CAST({row}.routed_at / 60 AS INTEGER)"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    """When a row counts, when it is bad, and what one voice is; over the alias `row`."""

    counts: str
    bad: str
    voice: str
    parameters: dict[str, float]

    @classmethod
    def of(cls, spec: MetricSpec, stage: Stage, row: str, *, unit_of: str | None = None) -> _Rule:
        counts, bad, parameters = _event(spec, stage)
        return cls(
            counts=counts.format(row=row),
            bad=bad.format(row=row),
            voice=(_UNIT if spec.per is Unit.UNIT_MINUTE else "{row}.id").format(row=unit_of or row),
            parameters=parameters,
        )


def count_arm(
    connection: sqlite3.Connection,
    spec: MetricSpec,
    comparison: Comparison,
    served: str,
    window: tuple[int, int],
) -> Counts:
    """Requests that `served` answered in (since, until]; of a canary's stable arm only those dealt at random."""
    rule = _Rule.of(spec, comparison.stage, "r")
    told = spec.event is Event.THUMBS_DOWN
    source, id_ = (_TOLD, "f.behind") if told else ("requests AS r", "r.id")
    sql = f"""
        SELECT count(*), coalesce(sum(bad), 0) FROM (
            SELECT max({rule.bad}) AS bad FROM {source}
            WHERE r.name = :name AND r.served = :served AND r.shadow = 0 AND r.keyed >= :keyed
              AND {id_} > :since AND {id_} <= :until AND {DEALT.format(row="r")} AND {rule.counts}
            GROUP BY {rule.voice}
        )
    """  # noqa: S608 - built from constants
    parameters = {
        "name": comparison.name,
        "served": served,
        "keyed": int(comparison.stage is Stage.CANARY and served == comparison.stable),
        **_bounds(window),
        **rule.parameters,
    }
    total, bad = connection.execute(sql, parameters).fetchone()
    return Counts(total=total, bad=bad)


def count_pairs(
    connection: sqlite3.Connection, spec: MetricSpec, comparison: Comparison, window: tuple[int, int]
) -> tuple[Counts, Counts]:
    """Pairs whose copy, always the later row, is in (since, until], and that was carried to its end."""
    stable = _Rule.of(spec, comparison.stage, "s")
    candidate = _Rule.of(spec, comparison.stage, "c", unit_of="s")
    sql = f"""
        SELECT coalesce(sum(s_counts), 0), coalesce(sum(s_bad), 0),
               coalesce(sum(c_counts), 0), coalesce(sum(c_bad), 0)
        FROM (
            SELECT max({stable.counts}) AS s_counts, max({stable.counts} AND {stable.bad}) AS s_bad,
                   max({candidate.counts}) AS c_counts, max({candidate.counts} AND {candidate.bad}) AS c_bad
            FROM {PAIRED}
            WHERE c.name = :name AND c.served = :candidate AND c.shadow = 1 AND s.served = :stable
              AND c.id > :since AND c.id <= :until AND {COMPLETE}
            GROUP BY {candidate.voice}
        )
    """  # noqa: S608 - built from constants
    names = {"name": comparison.name, "stable": comparison.stable, "candidate": comparison.candidate}
    row = connection.execute(sql, {**names, **_bounds(window), **stable.parameters}).fetchone()
    return Counts(total=row[0], bad=row[1]), Counts(total=row[2], bad=row[3])


PAIRED = """
    requests AS c JOIN requests AS s
      ON s.request_id = c.pair AND s.shadow = 0 AND s.mirrored = 1 AND s.name = c.name
"""
"""Copies beside the requests of stable that they copy."""
COMPLETE = f"NOT {LEFT.format(row='c')} AND {DEALT.format(row='c')} AND {DEALT.format(row='s')}"
"""No client waits for a copy: one whose client left was given up by the gateway itself."""

# The first word on an answer counts, so that each answer counts once however often its user presses.
_TOLD = """
    feedback AS f JOIN requests AS r ON r.request_id = f.request_id AND f.thumbs IS NOT NULL
      AND NOT EXISTS (SELECT 1 FROM feedback AS earlier WHERE earlier.request_id = f.request_id
                      AND earlier.thumbs IS NOT NULL AND earlier.id < f.id)
"""


def _event(spec: MetricSpec, stage: Stage) -> tuple[str, str, dict[str, float]]:
    """(what a row must be to count, when it is bad, parameters)."""
    match spec.event:
        case Event.ERROR:
            silent = _REJECTED if stage is Stage.BAKE else _HASTY
            return f"NOT {silent}", f"NOT {GOOD}", {}
        case Event.REJECTED:
            return f"NOT {LEFT}", _REJECTED, {}
        case Event.FORMAT_INVALID:
            return f"({GOOD} AND {{row}}.format_valid IS NOT NULL)", "{row}.format_valid = 0", {}
        case Event.THUMBS_DOWN:
            return "1", "f.thumbs < 0", {}
        case Event.SLOW:
            if spec.slow_after_ms is None:
                raise Unreadable(f"metric {spec.id} counts slow answers and does not say slow_after_ms")
            # Whatever became of it, someone waited longer than the limit. A quick failure is not a quick answer.
            # Where an adapter had to be loaded first, that is what took its time.
            slow = "{row}.latency_ms > :slow"
            return f"({{row}}.cold = 0 AND ({GOOD} OR {slow}))", slow, {"slow": spec.slow_after_ms}
        case _:
            raise Unreadable(f"metric {spec.id}: the traffic log does not count it")


def _bounds(window: tuple[int, int]) -> dict[str, int]:
    return {"since": window[0], "until": window[1]}
