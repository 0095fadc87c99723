"""The SQLite traffic log: what it keeps, what it loses and says so, and when it refuses to answer."""

from __future__ import annotations

import multiprocessing
import sqlite3
import threading
import time
from math import inf, nan
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from rollout.core.metric import MetricSpec, Query, Stage
from rollout.errors import MetricsUnavailable, Unreadable
from rollout.integrations.trafficlog import Retention, ServedCounts, TrafficLog, TrafficLogRecorder
from rollout.integrations.trafficlog.exposed import _COUNTS
from rollout.integrations.trafficlog.looks import look_at
from tests.contracts.test_metric_kinds import latency, score
from tests.contracts.test_metric_source import (
    CANDIDATE,
    ERROR,
    STABLE,
    THUMBS,
    comparison,
    pair,
    record,
    spec,
)
from tests.support.gateway import eventually

NOWHERE = "000000000000:0"


def rows(path: Path) -> int:
    """How many rows the log has."""
    return int(TrafficLog(path).edge().partition(":")[2])


def _rows_if_any(path: Path) -> int | None:
    try:
        return rows(path)
    except MetricsUnavailable:
        return None


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "traffic.sqlite"


def test_no_log_is_unavailable_and_never_zero(path: Path) -> None:
    with pytest.raises(MetricsUnavailable, match="there is no traffic log"):
        TrafficLog(path).edge()
    with pytest.raises(MetricsUnavailable, match="there is no traffic log"):
        TrafficLog(path).samples(ERROR, comparison(), since=NOWHERE, until=NOWHERE)


def test_a_file_that_is_no_log_is_unavailable(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(MetricsUnavailable, match="cannot be read: file is not a database"):
        TrafficLog(path).edge()
    with pytest.raises(MetricsUnavailable, match="cannot be opened"):
        TrafficLogRecorder(path)


def test_a_log_of_another_schema_is_refused(path: Path) -> None:
    TrafficLogRecorder(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 9")
    for open_ in (lambda: TrafficLog(path).edge(), lambda: TrafficLogRecorder(path)):
        with pytest.raises(MetricsUnavailable, match="has schema 9, not 3"):
            open_()


def test_rows_are_there_soon_after_they_were_recorded(path: Path) -> None:
    recorder = TrafficLogRecorder(path)
    recorder.record(record())
    eventually(lambda: rows(path) == 1)
    recorder.close()
    assert recorder.error is None


def test_closing_writes_what_is_left_and_later_rows_are_counted_as_lost(path: Path) -> None:
    recorder = TrafficLogRecorder(path)
    for _ in range(500):
        recorder.record(record())
    recorder.close()
    recorder.record(record())
    assert rows(path) == 500
    assert recorder.dropped == 1


def test_more_than_the_queue_holds_is_counted_and_blocks_nobody(path: Path) -> None:
    recorder = TrafficLogRecorder(path, capacity=10)
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        recorder.record(record())
        eventually(lambda: not recorder._rows)
        for _ in range(25):
            recorder.record(record())
        other.execute("ROLLBACK")
    recorder.close()
    assert recorder.dropped == 15
    assert rows(path) == 11


def test_a_row_that_cannot_be_stored_does_not_silence_the_log(path: Path) -> None:
    recorder = TrafficLogRecorder(path)
    recorder.record(record(completion_tokens=2**70))
    eventually(lambda: recorder.dropped == 1)
    assert "OverflowError" in str(recorder.error)
    recorder.record(record())
    recorder.close()
    assert rows(path) == 1


def test_gateways_share_a_log_and_its_salt(path: Path) -> None:
    recorders: list[TrafficLogRecorder] = []
    openers = [threading.Thread(target=lambda: recorders.append(TrafficLogRecorder(path))) for _ in range(6)]
    for opener in openers:
        opener.start()
    for opener in openers:
        opener.join()
    for recorder in recorders:
        for _ in range(50):
            recorder.record(record())
    for recorder in recorders:
        recorder.close()
    assert rows(path) == 300
    assert len({recorder.salt for recorder in recorders}) == 1
    assert len(recorders[0].salt) == 16
    assert [recorder.dropped for recorder in recorders] == [0] * 6


@pytest.mark.parametrize(
    "edge", ["", "1", ":1", f"{NOWHERE}.5", "000000000000:٣", "000000000000:" + "9" * 30]
)
def test_an_edge_of_another_source_is_refused(path: Path, edge: str) -> None:
    TrafficLogRecorder(path).close()
    with pytest.raises(MetricsUnavailable, match="is not an edge of a traffic log"):
        TrafficLog(path).samples(ERROR, comparison(), since=edge, until="0")


@pytest.mark.parametrize("later", [0, 1, 9], ids=["shorter", "as long", "longer"])
def test_a_log_that_was_replaced_is_noticed_however_long_the_new_one_is(path: Path, later: int) -> None:
    def fill(number: int) -> str:
        recorder = TrafficLogRecorder(path)
        for _ in range(number):
            recorder.record(record())
        recorder.close()
        return TrafficLog(path).edge()

    since = fill(1)
    for file in path.parent.iterdir():
        file.unlink()
    until = fill(later)
    for edges in ((since, until), (since, since), (until, since)):
        with pytest.raises(MetricsUnavailable, match="is not the log that the edges"):
            TrafficLog(path).samples(ERROR, comparison(), since=edges[0], until=edges[1])


def test_an_edge_beyond_the_end_is_not_of_this_log(path: Path) -> None:
    TrafficLogRecorder(path).close()
    beyond = TrafficLog(path).edge().replace(":0", ":7")
    with pytest.raises(MetricsUnavailable, match="is not the log that the edges"):
        TrafficLog(path).samples(ERROR, comparison(), since=beyond, until=beyond)


def test_a_log_that_is_deleted_while_it_is_written_is_made_anew(path: Path) -> None:
    recorder = TrafficLogRecorder(path)
    recorder.record(record())
    eventually(lambda: rows(path) == 1)
    for file in path.parent.iterdir():
        file.unlink()
    recorder.record(record())
    recorder.close()
    assert (rows(path), recorder.dropped) == (1, 0)


def _gateway(path: Path, pipe: Connection) -> None:
    recorder = TrafficLogRecorder(path, retention=Retention())
    pipe.send(None)
    for rows in iter(pipe.recv, 0):
        for _ in range(rows):
            recorder.record(record())
    recorder.close()
    pipe.send((recorder.dropped, recorder.error))


@pytest.mark.parametrize("removed", ["traffic.sqlite", "traffic.sqlite*"])
def test_a_log_that_is_removed_under_two_gateways_is_made_anew_with_all_later_rows(
    path: Path, removed: str
) -> None:
    spawn = multiprocessing.get_context("spawn")
    pipes = []
    for _ in range(2):
        here, there = spawn.Pipe()
        spawn.Process(target=_gateway, args=(path, there), daemon=True).start()
        pipes.append(here)
    for pipe in pipes:
        assert pipe.poll(30)
        pipe.recv()
        pipe.send(5)
    eventually(lambda: rows(path) == 10)
    for file in path.parent.glob(removed):
        file.unlink()
    for _ in range(3):
        for pipe in pipes:
            pipe.send(5)
            time.sleep(0.3)  # one notices before the other
    eventually(lambda: _rows_if_any(path) == 30, within_s=20)
    for pipe in pipes:
        pipe.send(0)
        assert pipe.recv() == (0, None)


def test_rows_wait_while_the_log_cannot_be_written(path: Path) -> None:
    recorder = TrafficLogRecorder(path)
    recorder.record(record())
    eventually(lambda: rows(path) == 1)
    away = path.parent.with_name("away")
    path.parent.rename(away)
    path.parent.write_text("a file where the folder was")
    for _ in range(3):
        recorder.record(record())
        eventually(lambda: recorder.error)
    path.parent.unlink()
    away.rename(path.parent)
    eventually(lambda: rows(path) == 4)
    recorder.close()
    assert (recorder.dropped, recorder.error) == (0, None)


def test_rows_that_wait_when_the_gateway_ends_are_counted_as_lost(path: Path) -> None:
    recorder = TrafficLogRecorder(path)
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE requests")
        connection.execute("CREATE VIEW requests AS SELECT 1 AS id")
    recorder.record(record())
    recorder.close()
    assert recorder.dropped == 1
    assert "cannot be opened" in str(recorder.error)


def test_a_metric_of_a_provider_is_none_of_the_logs(path: Path) -> None:
    TrafficLogRecorder(path).close()
    edge = TrafficLog(path).edge()
    source = Query(provider="warehouse", total="t", bad="b")
    for metric in (ERROR, latency(), score("format")):
        asked = metric.model_copy(update={"event": None, "measure": None, "score": None, "source": source})
        with pytest.raises(Unreadable, match="the traffic log does not measure it"):
            TrafficLog(path).samples(asked, comparison(), since=edge, until=edge)


def test_the_summary_tells_losses_failures_and_leavers_apart(path: Path) -> None:
    recorder = TrafficLogRecorder(path)
    for row in [
        record(STABLE, routed_at=5.0),
        record(STABLE, status=503, routed_at=9.0),
        record(STABLE, status=0, error="no replica answered: ConnectError", routed_at=7.0),
        record(STABLE, status=499, routed_at=6.0),
        record(STABLE, status=403, routed_at=6.0),
        *pair(status=500, routed_at=99.0),
        record(STABLE, name="other", routed_at=99.0),
    ]:
        recorder.record(row)
    recorder.close()
    log = TrafficLog(path)
    assert log.requests("bot") == {
        STABLE: ServedCounts(total=6, failed=3, server_errors=1, lost=1, client_left=1, shadow=0),
        CANDIDATE: ServedCounts(total=0, failed=0, server_errors=0, lost=0, client_left=0, shadow=1),
    }
    assert log.last_routed("bot", STABLE) == 1000.0
    assert log.last_routed("bot", CANDIDATE) is None
    assert log.requests("nobody") == {}


def test_who_was_served_is_found_by_an_index_within_the_window_alone(path: Path) -> None:
    TrafficLogRecorder(path).close()
    names = ("name", "stable", "candidate", "since", "until", "flag_version")
    with sqlite3.connect(path) as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN {_COUNTS}", dict.fromkeys(names, 0)).fetchall()
    steps = [row[3] for row in plan if " r " in row[3]]
    assert steps == [
        "SEARCH r USING INDEX requests_by_served (name=? AND served=? AND shadow=? AND id>? AND id<?)"
    ]


LOOKS = [
    *((metric, stage) for stage in Stage for metric in (ERROR, spec("invalid"), latency(), score("format"))),
    *((metric, stage) for stage in (Stage.CANARY, Stage.BAKE) for metric in (THUMBS, score("feedback"))),
    *((spec("error", per="unit_minute"), stage) for stage in Stage),
]


@pytest.mark.parametrize(("metric", "stage"), LOOKS, ids=lambda value: getattr(value, "id", str(value)))
def test_a_look_reads_the_rows_of_its_window_by_their_index_and_no_others(
    path: Path, metric: MetricSpec, stage: Stage
) -> None:
    TrafficLogRecorder(path).close()
    asked: list[str] = []
    with sqlite3.connect(path) as connection:
        connection.set_trace_callback(asked.append)
        look_at(connection, metric, comparison(stage), (3, 9), since="a", until="b")
        connection.set_trace_callback(None)
        found = {
            step[3]
            for statement in asked
            for step in connection.execute(f"EXPLAIN QUERY PLAN {statement}")
            if " USING " in step[3] and "TEMP" not in step[3]
        }
    window = "USING INDEX requests_by_served (name=? AND served=? AND shadow=? AND id>? AND id<?)"
    by_request = "USING INDEX requests_by_request (request_id=?)"
    if metric in (THUMBS, score("feedback")):
        assert found == {
            "SEARCH f USING INDEX feedback_by_window (behind>? AND behind<?)",
            f"SEARCH r {by_request}",
            "SEARCH earlier USING INDEX feedback_by_request (request_id=? AND rowid<?)",
        }
    elif stage is Stage.SHADOW:
        assert found == {f"SEARCH c {window}", f"SEARCH s {by_request}"}
    else:
        assert found == {f"SEARCH r {window}"}


def test_no_number_is_kept_as_what_no_time_can_be(path: Path) -> None:
    recorder = TrafficLogRecorder(path)
    recorder.record(record(latency_ms=nan, first_token_ms=nan, inter_token_ms=inf))
    recorder.close()
    ((_, kept),) = TrafficLog(path).records(after=0, limit=1)
    assert (kept.latency_ms, kept.first_token_ms, kept.inter_token_ms) == (-inf, -inf, inf)
    assert recorder.dropped == 0
