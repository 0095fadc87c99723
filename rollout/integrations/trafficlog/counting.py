"""What a rate counts, as SQL over the log's rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from rollout.core import ring
from rollout.core.metric import Comparison, Counts, Event, MetricSpec, RequestRecord, Stage, Unit
from rollout.errors import Unreadable

_PATIENCE_MS = 10_000
# Everything else is bad: there is no status that a candidate could answer with and be counted nowhere.
GOOD = "({row}.status BETWEEN 200 AND 299 AND {row}.error IS NULL)"
LEFT = "({row}.status = 499 AND {row}.error IS NULL)"
TIMED_OUT = "({row}.error_class IS 'timeout')"
# What a tester chose, and what stable answered in the candidate's place, was not dealt at random.
DEALT = "({row}.pinned = 0 AND {row}.retry_of IS NULL)"
NAMED = f"(r.flag_reason = '{ring.NAMED}')"
"""What a user of a ring got was not dealt at random either, and is judged while there is nobody else."""
NUMBER = "({value} >= 0 AND {value} < 9e999)"
"""A time or a number of tokens that can be one. What was no number is kept as minus infinity."""
_HASTY = f"({LEFT} AND ({{row}}.first_byte_ms IS NOT NULL OR {{row}}.latency_ms < {_PATIENCE_MS}))"
_REJECTED = "({row}.status BETWEEN 400 AND 499 AND {row}.status NOT IN (408, 429) AND {row}.error IS NULL)"
_NUMBERS = [field.name for field in fields(RequestRecord) if field.name.endswith(("_ms", "_tokens"))]
_ODD = " OR ".join(f"NOT {NUMBER.format(value='{row}.' + name)}" for name in _NUMBERS)
UNIT = "coalesce({row}.key_hash, {row}.conversation_hash)"
_UNIT_MINUTE = f"coalesce({UNIT}, {{row}}.id), CAST({{row}}.routed_at / 60 AS INTEGER)"


def _looked_at(column: str, *, bad: int) -> tuple[str, str]:
    return f"({GOOD} AND {{row}}.{column} IS NOT NULL)", f"{{row}}.{column} = {bad}"


_SLOW = "{row}.latency_ms > :slow"
_RATES: Mapping[Event, tuple[str, str]] = {
    Event.REJECTED: (f"NOT {LEFT}", _REJECTED),
    Event.TIMEOUT: (f"NOT {LEFT}", TIMED_OUT),
    Event.FORMAT_INVALID: _looked_at("format_valid", bad=0),
    Event.REFUSED: _looked_at("refused", bad=1),
    Event.PERSONAL_DATA: _looked_at("personal_data", bad=1),
    Event.TOXIC: _looked_at("toxic", bad=1),
    # Embeddings have no text, and a call of tools needs none.
    Event.EMPTY: (
        f"({GOOD} AND {{row}}.path <> '/v1/embeddings')",
        "({row}.output_chars = 0 AND {row}.finish_reason IS NOT 'tool_calls')",
    ),
    Event.INVALID: (f"NOT {LEFT}", f"coalesce({_ODD}, 0) OR {{row}}.error_class IS 'not_finite'"),
    # Whatever became of it, someone waited longer than the limit. A quick failure is not a quick answer, nor is one
    # whose time is no number. Where an adapter had to be loaded first, that is what took its time.
    Event.SLOW: (f"({{row}}.cold = 0 AND {{row}}.latency_ms >= 0 AND ({GOOD} OR {_SLOW}))", _SLOW),
    Event.THUMBS_DOWN: ("1", "f.thumbs < 0"),
}
"""What a row must be to count, and when it is bad. An error is told by the stage too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """What one arm shows of a rate. `known` are those whose unit is known, `heaps` those of its units (see `Clusters`).

    With `per: unit_minute` a unit's minutes are what is counted, here too.
    """

    counts: Counts
    known: Counts
    heaps: Sequence[tuple[str, int, int]]


def count_arm(
    connection: sqlite3.Connection,
    spec: MetricSpec,
    comparison: Comparison,
    served: str,
    window: tuple[int, int],
) -> Arm:
    """Requests that `served` answered in (since, until]; of a canary's stable arm only those dealt at random."""
    counts, bad = rule(spec, comparison.stage, "r")
    source, id_ = (first_words("thumbs"), "f.behind") if spec.event is Event.THUMBS_DOWN else ROWS
    voices = f"""
        SELECT {UNIT.format(row="r")} AS unit, 1 AS counts, max({bad}) AS bad
        FROM {source} WHERE {ARM} AND {within(id_)} AND {counts} GROUP BY {_voice(spec, "r")}
    """  # noqa: S608 - built from constants
    parameters = {**arm_parameters(comparison, served, window), "slow": spec.slow_after_ms}
    return _arm(connection.execute(_by_unit(voices, "counts", "bad"), parameters).fetchall())


def count_pairs(
    connection: sqlite3.Connection, spec: MetricSpec, comparison: Comparison, window: tuple[int, int]
) -> tuple[Arm, Arm]:
    """Pairs whose copy, always the later row, is in (since, until], and that was carried to its end."""
    stable, candidate = (rule(spec, comparison.stage, row) for row in "sc")
    voices = f"""
        SELECT {UNIT.format(row="s")} AS unit,
               max({stable[0]}) AS s_counts, max({stable[0]} AND {stable[1]}) AS s_bad,
               max({candidate[0]}) AS c_counts, max({candidate[0]} AND {candidate[1]}) AS c_bad
        FROM {PAIRED} WHERE {PAIR} AND {within("c.id")} GROUP BY {_voice(spec, "s")}
    """  # noqa: S608 - built from constants
    parameters = {**pair_parameters(comparison, window), "slow": spec.slow_after_ms}
    theirs = connection.execute(_by_unit(voices, "s_counts", "s_bad"), parameters).fetchall()
    ours = connection.execute(_by_unit(voices, "c_counts", "c_bad"), parameters).fetchall()
    return _arm(theirs), _arm(ours)


ROWS = "requests AS r", "r.id"
ARM = f"""
    r.name = :name AND r.served = :served AND r.shadow = 0 AND r.keyed >= :keyed AND {DEALT.format(row="r")}
    AND (:ring OR NOT {NAMED})
"""
"""Rows of an arm whose stage is not the shadow."""
COPIED = """
    CROSS JOIN requests AS s INDEXED BY requests_by_request
      ON s.request_id = c.pair AND s.shadow = 0 AND s.mirrored = 1 AND s.name = c.name
"""
PAIRED = f"requests AS c {COPIED}"
"""Copies beside the requests of stable that they copy. Left to itself, SQLite would look at all of stable's for each."""
COMPLETE = f"NOT {LEFT.format(row='c')} AND {DEALT.format(row='c')} AND {DEALT.format(row='s')}"
"""No client waits for a copy: one whose client left was given up by the gateway itself."""
PAIR = f"c.name = :name AND c.served = :candidate AND c.shadow = 1 AND s.served = :stable AND {COMPLETE}"


def within(id_: str) -> str:
    """The window's rows, by whatever tells their place."""
    return f"{id_} > :since AND {id_} <= :until"


def first_words(column: str) -> str:
    """Feedback beside its answers: the first word counts, so that each answer counts once however often one presses."""
    answers = "feedback AS f CROSS JOIN requests AS r INDEXED BY requests_by_request"
    return f"{answers} ON r.request_id = f.request_id AND {_is_first(column)}"


def first_word(column: str) -> str:
    """The same from an answer on: what its user said first."""
    words = "CROSS JOIN feedback AS f INDEXED BY feedback_by_request"
    return f"{words} ON f.request_id = r.request_id AND {_is_first(column)}"


def _is_first(column: str) -> str:
    return f"""
        f.{column} IS NOT NULL
          AND NOT EXISTS (SELECT 1 FROM feedback AS earlier WHERE earlier.request_id = f.request_id
                          AND earlier.{column} IS NOT NULL AND earlier.id < f.id)
    """  # noqa: S608 - built from constants


def arm_parameters(
    comparison: Comparison, served: str, window: tuple[int, int]
) -> dict[str, str | int | float | None]:
    """What `ARM` and `within` ask for."""
    return {
        "name": comparison.name,
        "served": served,
        "keyed": int(comparison.stage is Stage.CANARY and served == comparison.stable),
        "ring": int(comparison.ring),
        "since": window[0],
        "until": window[1],
    }


def pair_parameters(comparison: Comparison, window: tuple[int, int]) -> dict[str, str | int | float | None]:
    """What `PAIR` and `within` ask for."""
    return {
        "name": comparison.name,
        "stable": comparison.stable,
        "candidate": comparison.candidate,
        "since": window[0],
        "until": window[1],
    }


def rule(spec: MetricSpec, stage: Stage, row: str) -> tuple[str, str]:
    """(when a row counts, when it is bad)"""
    if spec.event is Event.ERROR:
        counts, bad = f"NOT {_REJECTED if stage is Stage.BAKE else _HASTY}", f"NOT {GOOD}"
    elif spec.event is None:
        raise Unreadable(f"metric {spec.id}: the traffic log does not measure it")
    else:
        counts, bad = _RATES[spec.event]
    return f"({counts.format(row=row)})", f"({bad.format(row=row)})"


def _voice(spec: MetricSpec, row: str) -> str:
    return (_UNIT_MINUTE if spec.per is Unit.UNIT_MINUTE else "{row}.id").format(row=row)


def _by_unit(voices: str, counts: str, bad: str) -> str:
    """(unit, how many of it are counted, how many of these are bad) of all who have a bad one; the others in one row."""
    units = f"SELECT unit, sum({counts}) AS counts, sum({bad}) AS bad FROM ({voices}) WHERE {counts} GROUP BY unit"  # noqa: S608
    heaped = "CASE WHEN bad > 0 THEN unit END"
    return f"""
        SELECT {heaped}, sum(counts), sum(bad), coalesce(sum(counts) FILTER (WHERE unit IS NOT NULL), 0)
        FROM ({units}) GROUP BY {heaped}
    """  # noqa: S608 - built from constants


def _arm(rows: Sequence[tuple[str | None, int, int, int]]) -> Arm:
    heaps = sorted((unit, counts, bad) for unit, counts, bad, _ in rows if unit is not None)
    return Arm(
        counts=Counts(total=sum(row[1] for row in rows), bad=sum(row[2] for row in rows)),
        known=Counts(total=sum(row[3] for row in rows), bad=sum(bad for *_, bad in heaps)),
        heaps=heaps,
    )
