"""What the traffic log does when there is too much: of rows, of days, of megabytes, of disk."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rollout.core.metric import Feedback, RequestRecord, Texts
from rollout.errors import MetricsUnavailable
from rollout.integrations.trafficlog import Retention, TrafficLog, TrafficLogRecorder
from tests.contracts.test_metric_source import CANDIDATE, ERROR, THUMBS, comparison, record
from tests.support.gateway import eventually

MIB = 1024 * 1024
DAY_S = 86_400.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "traffic.sqlite"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own of 2 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(place)]
    if os.getuid() != 0 or subprocess.run(mounted, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root may mount a small file system here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def ids(path: Path) -> list[int]:
    return [number for number, _ in TrafficLog(path).records(after=0, limit=1_000_000)]


def fill(file: Path) -> None:
    """Write until the disk is full."""
    number = os.open(file, os.O_WRONLY | os.O_CREAT)
    with contextlib.suppress(OSError):
        while os.write(number, b"x" * 4096):
            pass
    os.close(number)
    assert os.statvfs(file.parent).f_bavail == 0


def size_of(path: Path) -> int:
    """Bytes on disk, with the write-ahead log."""
    size = 0
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
        with contextlib.suppress(FileNotFoundError):  # the other two come and go
            size += path.with_name(name).stat().st_size
    return size


def test_rows_older_than_the_limit_go_with_their_texts_and_what_was_said_of_them(path: Path) -> None:
    now = time.time()
    old = [record(routed_at=now - 3 * DAY_S) for _ in range(450)]
    new = [record(routed_at=now - 1 * DAY_S) for _ in range(30)]
    recorder = TrafficLogRecorder(path, retention=Retention(keep_days=4))
    for row in [*old, *new]:
        recorder.record(row, Texts(request="{}", answer="yes"))
        recorder.tell(Feedback(request_id=row.request_id, at=row.routed_at, thumbs=1))
    recorder.close()
    assert len(ids(path)) == 480

    recorder = TrafficLogRecorder(path, retention=Retention(keep_days=2))
    eventually(lambda: len(ids(path)) == 30)
    eventually(lambda: TrafficLog(path).feedback("bot")[new[0].served].answers == 30)
    recorder.close()
    assert {row.request_id for _, row in TrafficLog(path).records(after=0, limit=99)} == {
        row.request_id for row in new
    }
    with sqlite3.connect(path) as connection:
        for table in ("texts", "feedback"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (30,), table


def test_a_look_that_begins_before_what_was_removed_has_no_evidence(path: Path) -> None:
    now = time.time()
    recorder = TrafficLogRecorder(path)
    recorder.record(record(CANDIDATE, routed_at=now - 3 * DAY_S, status=500))
    recorder.close()
    empty = TrafficLog(path).edge().replace(":1", ":0")
    middle = TrafficLog(path).edge()
    recorder = TrafficLogRecorder(path)
    recorder.record(record(CANDIDATE, routed_at=now))
    recorder.close()
    assert TrafficLog(path).samples(ERROR, comparison(), since=empty, until=middle).candidate.bad == 1

    recorder = TrafficLogRecorder(path, retention=Retention(keep_days=2))
    eventually(lambda: ids(path) == [2])
    recorder.close()
    until = TrafficLog(path).edge()
    with pytest.raises(MetricsUnavailable, match="was removed to keep it within its limits"):
        TrafficLog(path).samples(ERROR, comparison(), since=empty, until=until)
    with pytest.raises(MetricsUnavailable, match="was removed to keep it within its limits"):
        TrafficLog(path).exposure(comparison(), since=empty, until=until, flag_version=1)
    seen = TrafficLog(path).samples(ERROR, comparison(), since=middle, until=until)
    assert (seen.candidate.total, seen.candidate.bad) == (1, 0)
    assert TrafficLog(path).exposure(comparison(), since=middle, until=until, flag_version=1).users == 1


def test_a_log_whose_last_row_was_removed_keeps_its_edge(path: Path) -> None:
    recorder = TrafficLogRecorder(path)
    recorder.record(record(routed_at=1.0))
    recorder.close()
    edge = TrafficLog(path).edge()
    recorder = TrafficLogRecorder(path, retention=Retention(keep_days=2))
    eventually(lambda: not ids(path))
    recorder.close()
    assert TrafficLog(path).edge() == edge
    assert TrafficLog(path).samples(ERROR, comparison(), since=edge, until=edge).candidate.total == 0


def test_the_file_stays_within_its_limit_however_much_is_written(path: Path) -> None:
    recorder = TrafficLogRecorder(path, retention=Retention(max_mb=16))
    sizes, written = [0], 0
    for _ in range(120):
        for _ in range(10):
            row = record(CANDIDATE, routed_at=time.time())
            recorder.record(row, Texts(request="q" * 20_000, answer="a" * 20_000))
        written += 10
        while recorder._rows:
            sizes.append(size_of(path))
    recorder.close()
    assert written * 40_000 > 2.5 * 16 * MIB
    assert max(sizes) <= 16 * MIB
    assert (recorder.dropped, recorder.dropped_texts) == (0, 0)
    kept = ids(path)
    assert kept[-1] == written
    assert kept == list(range(kept[0], written + 1)), "the oldest go first, and nothing in between"


def test_what_was_removed_can_be_read_from_the_file_no_more(path: Path) -> None:
    secret = "what somebody said"
    recorder = TrafficLogRecorder(path)
    recorder.record(record(routed_at=1.0), Texts(request=secret, answer=secret))
    recorder.close()
    assert secret.encode() in path.read_bytes()
    recorder = TrafficLogRecorder(path, retention=Retention(keep_days=2))
    eventually(lambda: not ids(path))
    recorder.close()
    assert secret.encode() not in b"".join(file.read_bytes() for file in path.parent.iterdir())


def test_a_log_that_must_become_smaller_does(path: Path) -> None:
    recorder = TrafficLogRecorder(path)
    for _ in range(800):
        recorder.record(
            record(CANDIDATE, routed_at=time.time()), Texts(request="q" * 20_000, answer="a" * 20_000)
        )
    recorder.close()
    assert size_of(path) > 30 * MIB
    recorder = TrafficLogRecorder(path, retention=Retention(max_mb=16))
    eventually(lambda: size_of(path) <= 16 * MIB, within_s=60)
    recorder.close()
    assert ids(path)[-1] == 800


def test_feedback_on_nothing_cannot_fill_the_log(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rollout.integrations.trafficlog.retention._FEEDBACK_BYTES", 12_000)
    recorder = TrafficLogRecorder(path, retention=Retention(max_mb=16))
    since = TrafficLog(path).edge()
    for number in range(2000):
        recorder.tell(Feedback(request_id=f"{number:032x}", at=time.time(), thumbs=-1))

    def kept() -> int:
        with sqlite3.connect(path) as connection:
            return int(connection.execute("SELECT count(*) FROM feedback").fetchone()[0])

    eventually(lambda: not recorder._told)
    eventually(lambda: 0 < kept() <= 110, within_s=20)
    recorder.record(record())
    recorder.close()
    with pytest.raises(MetricsUnavailable, match="was removed"):
        TrafficLog(path).samples(THUMBS, comparison(), since=since, until=TrafficLog(path).edge())


def test_rows_wait_for_a_full_disk_and_are_there_when_it_has_room_again(small_disk: Path) -> None:
    path = small_disk / "traffic.sqlite"
    recorder = TrafficLogRecorder(path)
    recorder.record(record())
    eventually(lambda: ids(path) == [1])
    filler = small_disk / "filler"
    fill(filler)
    sent = 0
    while recorder.error is None:
        recorder.record(record())
        sent += 1
        time.sleep(0.001)
    assert "full" in recorder.error or "I/O" in recorder.error
    filler.unlink()
    eventually(lambda: ids(path)[-1] == 1 + sent)
    recorder.close()
    assert (len(ids(path)), recorder.dropped, recorder.error) == (1 + sent, 0, None)


def test_a_disk_that_stays_full_costs_rows_that_are_counted_to_the_last(small_disk: Path) -> None:
    path = small_disk / "traffic.sqlite"
    recorder = TrafficLogRecorder(path, capacity=5000)
    for _ in range(20_000):
        recorder.record(record(), Texts(request="q", answer="a"))
        if recorder.error:
            break
    for _ in range(20_000):
        recorder.record(record(), Texts(request="q" * 100, answer="a" * 100))
    assert recorder.dropped > 0
    recorder.close()
    with sqlite3.connect(path) as connection:
        (written,) = connection.execute("SELECT count(*) FROM requests").fetchone()
    sent = written + recorder.dropped
    assert sent >= 20_000
    assert sent == written + recorder.dropped


def test_texts_that_are_too_large_are_left_out_and_their_rows_kept(path: Path) -> None:
    recorder = TrafficLogRecorder(path)
    recorder.record(record(), Texts(request="q" * 300_000, answer="a"))
    recorder.record(record(), Texts(request="q", answer="a"))
    recorder.close()
    assert (recorder.dropped, recorder.dropped_texts) == (0, 1)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT request, answer FROM texts").fetchall() == [("q", "a")]


def test_texts_that_wait_have_a_limit_of_their_own(path: Path) -> None:
    recorder = TrafficLogRecorder(path)
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        for _ in range(600):
            recorder.record(record(), Texts(request="q" * 200_000, answer=""))
        other.execute("ROLLBACK")
    recorder.close()
    assert len(ids(path)) == 600
    assert recorder.dropped_texts == 600 - 64 * MIB // 200_000


def test_feedback_that_nobody_can_write_is_counted(path: Path) -> None:
    recorder = TrafficLogRecorder(path, capacity=20)
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        recorder.tell(Feedback(request_id="f" * 32, at=1.0, score=1.0))
        eventually(lambda: not recorder._told)
        for _ in range(9):
            recorder.tell(Feedback(request_id="f" * 32, at=1.0, score=1.0))
        other.execute("ROLLBACK")
    recorder.close()
    recorder.tell(Feedback(request_id="f" * 32, at=1.0, score=1.0))
    assert recorder.dropped_feedback == 8
    assert recorder.dropped == 0


def test_a_reader_that_never_ends_cannot_fill_the_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rollout.integrations.trafficlog.logfile._LARGEST_WAL", 4 * MIB)
    recorder = TrafficLogRecorder(path, capacity=300)
    reader = sqlite3.connect(path)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM requests").fetchone()
    for _ in range(1000):
        recorder.record(record(), Texts(request="q" * 10_000, answer=""))
        if recorder.error:
            break
        time.sleep(0.001)
    eventually(
        lambda: recorder.error == "OperationalError: a reader has held the log for too long", within_s=20
    )
    wal = path.with_name(f"{path.name}-wal")
    assert wal.stat().st_size < 8 * MIB
    reader.close()
    eventually(lambda: recorder.error is None, within_s=20)
    recorder.close()
    assert wal.stat().st_size < 8 * MIB if wal.exists() else True


def test_a_row_that_cannot_be_stored_takes_no_other_with_it(path: Path) -> None:
    recorder = TrafficLogRecorder(path)
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        rows: list[RequestRecord] = [record() for _ in range(5)]
        rows[2] = dataclasses.replace(rows[2], completion_tokens=2**70)
        for row in rows:
            recorder.record(row)
        other.execute("ROLLBACK")
    recorder.close()
    assert recorder.dropped == 1
    stored = [row.request_id for _, row in TrafficLog(path).records(after=0, limit=9)]
    assert stored == [row.request_id for row in rows if row.completion_tokens != 2**70]
