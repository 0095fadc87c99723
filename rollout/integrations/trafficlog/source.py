"""The reading side: counts of both arms, and what `status` and the demo ask."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from rollout.core.metric import Comparison, Counts, Event, MetricSpec, Samples, Stage
from rollout.errors import MetricsUnavailable, Unreadable
from rollout.integrations.trafficlog.schema import BUSY_S, check_version

_EDGE = re.compile(r"([0-9a-f]{12}):([0-9]{1,18})")
_PATIENCE_MS = 10_000
# Everything else is bad: there is no status that a candidate could answer with and be counted nowhere.
_GOOD = "({row}.status BETWEEN 200 AND 299 AND {row}.error IS NULL)"
_LEFT = "({row}.status = 499 AND {row}.error IS NULL)"
_HASTY = f"({_LEFT} AND ({{row}}.first_byte_ms IS NOT NULL OR {{row}}.latency_ms < {_PATIENCE_MS}))"
_REJECTED = (
    "({row}.status BETWEEN 400 AND 499 AND {row}.status NOT IN (404, 408, 429) AND {row}.error IS NULL)"
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
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


class TrafficLog:
    """MetricSource over the log, and what `status` and the demo ask of it. Opens the file for reading only.

    Where a control is at hand (shadow, canary) every answer but a good one is an error in both arms alike: users
    who ask for nonsense are dealt to both, and a rejection that only the candidate gives is its own. At 100 %
    nothing tells the two apart, so that rejections count there for a metric of their own only. A client that
    leaves within ten seconds, or after the answer had begun, is no error; one that left because an answer took
    longer than the metric's limit was answered slowly.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def edge(self) -> str:
        """The log's own mark and the id of its newest committed row. Raises MetricsUnavailable if there is no log."""
        with self._reading() as connection:
            return f"{_mark(connection)}:{_newest(connection)}"

    def samples(self, spec: MetricSpec, comparison: Comparison, *, since: str, until: str) -> Samples:
        """Counts of both arms in (since, until].

        Shadow counts pairs: a copy that was carried to its end, beside the request of stable that it copies;
        the pair belongs to the window of its copy, which is always the later row. In a canary the stable arm
        holds keyed requests only, because no others are dealt at random. Raises MetricsUnavailable if there is
        no log or the edges are not its own.
        """
        (log, first), (other, last) = _edge(since), _edge(until)
        with self._reading() as connection:
            if {log, other} != {_mark(connection)} or max(first, last) > _newest(connection):
                raise MetricsUnavailable(
                    f"{self._path} is not the log that the edges {since} and {until} are from"
                )
            window = first, last
            if comparison.stage is Stage.SHADOW:
                stable, candidate = _pairs(connection, spec, comparison, window)
            else:
                keyed_only = comparison.stage is Stage.CANARY
                stable = _arm(connection, spec, comparison, comparison.stable, window, keyed_only)
                candidate = _arm(connection, spec, comparison, comparison.candidate, window, False)
        return Samples(metric=spec.id, since=since, until=until, stable=stable, candidate=candidate)

    def last_routed(self, name: str, served: str) -> float | None:
        """Unix time at which a user's request was last routed to `served`; None if never."""
        with self._reading() as connection:
            row = connection.execute(
                "SELECT max(routed_at) FROM requests WHERE name = ? AND served = ? AND shadow = 0",
                (name, served),
            ).fetchone()
        return None if row[0] is None else float(row[0])

    def requests(self, name: str) -> Mapping[str, ServedCounts]:
        """Counts per served adapter of one logical name, over the whole log."""
        good, left = _GOOD.format(row="r"), _LEFT.format(row="r")
        sql = f"""
            SELECT served, sum(shadow = 0), sum(shadow = 0 AND NOT {left} AND NOT {good}),
                   sum(shadow = 0 AND status >= 500), sum(shadow = 0 AND status = 0),
                   sum(shadow = 0 AND {left}), sum(shadow)
            FROM requests AS r WHERE name = ? GROUP BY served
        """  # noqa: S608 - built from constants
        names = [field.name for field in dataclasses.fields(ServedCounts)]
        with self._reading() as connection:
            rows = connection.execute(sql, (name,)).fetchall()
        return {served: ServedCounts(**dict(zip(names, counts, strict=True))) for served, *counts in rows}

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        if not self._path.is_file():
            raise MetricsUnavailable(
                f"there is no traffic log at {self._path}", advice="Is a gateway running?"
            )
        try:
            uri = f"{self._path.resolve().as_uri()}?mode=ro"
            with closing(sqlite3.connect(uri, uri=True, timeout=BUSY_S)) as connection:
                check_version(connection, self._path)
                connection.execute("BEGIN")  # one snapshot for all that is asked
                yield connection
        except sqlite3.Error as error:
            raise MetricsUnavailable(f"the traffic log {self._path} cannot be read: {error}") from error


def _bad(spec: MetricSpec, stage: Stage, row: str) -> tuple[str, str, dict[str, float]]:
    """(what a row must be to count, when it is bad, parameters), as SQL over the alias `row`."""
    good = _GOOD.format(row=row)
    match spec.event:
        case Event.ERROR:
            silent = _REJECTED if stage is Stage.BAKE else _HASTY
            return f"NOT {silent.format(row=row)}", f"NOT {good}", {}
        case Event.REJECTED:
            return f"NOT {_LEFT.format(row=row)}", _REJECTED.format(row=row), {}
        case Event.FORMAT_INVALID:
            return f"({good} AND {row}.format_valid IS NOT NULL)", f"{row}.format_valid = 0", {}
        case Event.SLOW:
            if spec.slow_after_ms is None:
                raise Unreadable(f"metric {spec.id} counts slow answers and does not say slow_after_ms")
            # Whatever became of it, someone waited longer than the limit. A quick failure is not a quick answer.
            slow = f"{row}.latency_ms > :slow"
            return f"({good} OR {slow})", slow, {"slow": spec.slow_after_ms}


def _arm(
    connection: sqlite3.Connection,
    spec: MetricSpec,
    comparison: Comparison,
    served: str,
    window: tuple[int, int],
    keyed_only: bool,
) -> Counts:
    counts, bad, extra = _bad(spec, comparison.stage, "r")
    sql = f"""
        SELECT count(*), coalesce(sum({bad}), 0) FROM requests AS r
        WHERE r.name = :name AND r.served = :served AND r.shadow = 0 AND r.keyed >= :keyed
          AND r.id > :since AND r.id <= :until AND {counts}
    """  # noqa: S608 - built from constants
    parameters = {
        "name": comparison.name,
        "served": served,
        "keyed": int(keyed_only),
        **_bounds(window),
        **extra,
    }
    total, number = connection.execute(sql, parameters).fetchone()
    return Counts(total=total, bad=number)


def _pairs(
    connection: sqlite3.Connection, spec: MetricSpec, comparison: Comparison, window: tuple[int, int]
) -> tuple[Counts, Counts]:
    counts_c, bad_c, extra = _bad(spec, comparison.stage, "c")
    counts_s, bad_s, _ = _bad(spec, comparison.stage, "s")
    given_up = _LEFT.format(row="c")  # no client waits for a copy: the gateway itself stopped
    sql = f"""
        SELECT coalesce(sum({counts_s}), 0), coalesce(sum({counts_s} AND {bad_s}), 0),
               coalesce(sum({counts_c}), 0), coalesce(sum({counts_c} AND {bad_c}), 0)
        FROM requests AS c JOIN requests AS s
          ON s.request_id = c.pair AND s.shadow = 0 AND s.mirrored = 1 AND s.name = c.name
        WHERE c.name = :name AND c.served = :candidate AND c.shadow = 1 AND s.served = :stable
          AND c.id > :since AND c.id <= :until AND NOT {given_up}
    """  # noqa: S608 - built from constants
    names = {"name": comparison.name, "stable": comparison.stable, "candidate": comparison.candidate}
    row = connection.execute(sql, {**names, **_bounds(window), **extra}).fetchone()
    return Counts(total=row[0], bad=row[1]), Counts(total=row[2], bad=row[3])


def _bounds(window: tuple[int, int]) -> dict[str, int]:
    return {"since": window[0], "until": window[1]}


def _edge(text: str) -> tuple[str, int]:
    if (found := _EDGE.fullmatch(text)) is None:
        raise MetricsUnavailable(f"{text!r} is not an edge of a traffic log")
    return found[1], int(found[2])


def _mark(connection: sqlite3.Connection) -> str:
    """What tells this log from one that took its place: ids begin anew in each."""
    (salt,) = connection.execute("SELECT value FROM meta WHERE key = 'salt'").fetchone()
    return hashlib.sha256(salt.encode()).hexdigest()[:12]


def _newest(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT coalesce(max(id), 0) FROM requests").fetchone()[0])
