"""The SQLite traffic log: what it keeps, what it loses and says so, and when it refuses to answer."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from rollout.core.metric import Stage
from rollout.errors import MetricsUnavailable, Unreadable
from rollout.integrations.trafficlog import ServedCounts, TrafficLog, TrafficLogRecorder
from tests.contracts.test_metric_source import CANDIDATE, ERROR, STABLE, comparison, pair, record, spec
from tests.support.gateway import eventually


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "traffic.sqlite"


def test_no_log_is_unavailable_and_never_zero(path: Path) -> None:
    with pytest.raises(MetricsUnavailable, match="there is no traffic log"):
        TrafficLog(path).edge()
    with pytest.raises(MetricsUnavailable, match="there is no traffic log"):
        TrafficLog(path).samples(ERROR, comparison(), since="0", until="0")


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
        with pytest.raises(MetricsUnavailable, match="has schema 9, not 1"):
            open_()


def test_rows_are_there_soon_after_they_were_recorded(path: Path) -> None:
    recorder = TrafficLogRecorder(path)
    recorder.record(record())
    eventually(lambda: TrafficLog(path).edge() == "1")
    recorder.close()
    assert recorder.error is None


def test_closing_writes_what_is_left_and_later_rows_are_counted_as_lost(path: Path) -> None:
    recorder = TrafficLogRecorder(path)
    for _ in range(500):
        recorder.record(record())
    recorder.close()
    recorder.record(record())
    assert TrafficLog(path).edge() == "500"
    assert recorder.dropped == 1


def test_more_than_the_queue_holds_is_counted_and_blocks_nobody(path: Path) -> None:
    recorder = TrafficLogRecorder(path, capacity=10)
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        recorder.record(record())
        eventually(lambda: not recorder._waiting)
        for _ in range(25):
            recorder.record(record())
        other.execute("ROLLBACK")
    recorder.close()
    assert recorder.dropped == 15
    assert TrafficLog(path).edge() == "11"


def test_a_row_that_cannot_be_stored_does_not_silence_the_log(path: Path) -> None:
    recorder = TrafficLogRecorder(path)
    recorder.record(record(completion_tokens=2**70))
    eventually(lambda: recorder.dropped == 1)
    assert "OverflowError" in str(recorder.error)
    recorder.record(record())
    recorder.close()
    assert TrafficLog(path).edge() == "1"


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
    assert TrafficLog(path).edge() == "300"
    assert len({recorder.salt for recorder in recorders}) == 1
    assert len(recorders[0].salt) == 16
    assert [recorder.dropped for recorder in recorders] == [0] * 6


@pytest.mark.parametrize("edge", ["", "-1", "x", "1.5", "٣", "9" * 30])
def test_an_edge_of_another_source_is_refused(path: Path, edge: str) -> None:
    TrafficLogRecorder(path).close()
    with pytest.raises(MetricsUnavailable, match="is not an edge of a traffic log"):
        TrafficLog(path).samples(ERROR, comparison(), since=edge, until="0")


def test_a_log_that_was_replaced_is_noticed(path: Path) -> None:
    TrafficLogRecorder(path).close()
    with pytest.raises(MetricsUnavailable, match="not the log that the edge is from"):
        TrafficLog(path).samples(ERROR, comparison(), since="7", until="7")


def test_slow_without_a_limit_is_unreadable(path: Path) -> None:
    TrafficLogRecorder(path).close()
    with pytest.raises(Unreadable, match="does not say slow_after_ms"):
        TrafficLog(path).samples(spec("slow"), comparison(Stage.CANARY), since="0", until="0")


def test_the_summary_tells_losses_failures_and_leavers_apart(path: Path) -> None:
    recorder = TrafficLogRecorder(path)
    for row in [
        record(STABLE, routed_at=5.0),
        record(STABLE, status=503, routed_at=9.0),
        record(STABLE, status=0, error="no replica answered: ConnectError", routed_at=7.0),
        record(STABLE, status=499, routed_at=6.0),
        *pair(status=500, routed_at=99.0),
        record(STABLE, name="other", routed_at=99.0),
    ]:
        recorder.record(row)
    recorder.close()
    log = TrafficLog(path)
    assert log.requests("bot") == {
        STABLE: ServedCounts(total=5, failed=2, server_errors=1, lost=1, client_left=1, shadow=0),
        CANDIDATE: ServedCounts(total=0, failed=0, server_errors=0, lost=0, client_left=0, shadow=1),
    }
    assert log.last_routed("bot", STABLE) == 1000.0
    assert log.last_routed("bot", CANDIDATE) is None
    assert log.requests("nobody") == {}
