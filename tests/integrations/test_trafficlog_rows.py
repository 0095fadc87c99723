"""What the traffic log holds beside counts: rows, texts, pairs, feedback, and what older logs held."""

from __future__ import annotations

import dataclasses
import sqlite3
import threading
from pathlib import Path

import pytest

from rollout.core.metric import ErrorClass, Feedback, RequestRecord, Texts
from rollout.errors import MetricsUnavailable
from rollout.integrations.trafficlog import FeedbackCounts, TrafficLog, TrafficLogRecorder
from rollout.integrations.trafficlog.schema import SCHEMA_VERSION
from tests.contracts.test_metric_source import CANDIDATE, ERROR, STABLE, Stage, comparison, pair, record

# As the first release of the log made it, and filled it.
OLD_LOG = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE requests (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    request_id TEXT NOT NULL,
    name TEXT NOT NULL,
    served TEXT NOT NULL,
    slot TEXT NOT NULL,
    shadow INTEGER NOT NULL,
    mirrored INTEGER NOT NULL,
    pair TEXT,
    keyed INTEGER NOT NULL,
    key_hash TEXT,
    flag_version INTEGER,
    flag_reason TEXT NOT NULL,
    routed_at REAL NOT NULL,
    first_byte_ms REAL,
    latency_ms REAL NOT NULL,
    status INTEGER NOT NULL,
    error TEXT,
    format_valid INTEGER,
    completion_tokens INTEGER,
    output_chars INTEGER NOT NULL
);
CREATE INDEX requests_by_request ON requests (request_id);
CREATE INDEX requests_by_served ON requests (name, served, shadow, id);
INSERT INTO meta VALUES ('salt', '00112233445566778899aabbccddeeff');
INSERT INTO requests VALUES
    (1, 'r1', 'bot', 'bot-1.0.0-a', 'stable', 0, 0, NULL, 1, 'k', 1, 'FALLTHROUGH', 5.0, 1.0, 2.0, 200, NULL, 1, 7, 9),
    (2, 'r2', 'bot', 'bot-1.1.0-b', 'candidate', 0, 0, NULL, 1, 'k', 1, 'FALLTHROUGH', 6.0, 1.0, 2.0, 500, 'no', NULL,
     NULL, 0);
PRAGMA user_version = 1;
"""
OLD_ROW = (
    "INSERT INTO requests (request_id, name, served, slot, shadow, mirrored, pair, keyed, key_hash, flag_version,"
    " flag_reason, routed_at, first_byte_ms, latency_ms, status, error, format_valid, completion_tokens, output_chars)"
    " VALUES ('r3', 'bot', 'bot-1.1.0-b', 'candidate', 0, 0, NULL, 1, 'k', 1, 'X', 7.0, 1.0, 2.0, 200, NULL, 1, 7, 9)"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "traffic.sqlite"


@pytest.fixture
def old_log(path: Path) -> Path:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(OLD_LOG)
    return path


def write(
    path: Path, *rows: RequestRecord | tuple[RequestRecord, Texts], told: tuple[Feedback, ...] = ()
) -> None:
    recorder = TrafficLogRecorder(path)
    for row in rows:
        recorder.record(*row if isinstance(row, tuple) else (row,))
    for feedback in told:
        recorder.tell(feedback)
    recorder.close()
    assert (recorder.dropped, recorder.dropped_texts, recorder.dropped_feedback) == (0, 0, 0)


def test_an_old_log_keeps_its_rows_its_salt_and_its_edges(old_log: Path) -> None:
    recorder = TrafficLogRecorder(old_log)
    assert recorder.salt.hex() == "00112233445566778899aabbccddeeff"
    log = TrafficLog(old_log)
    assert log.edge().endswith(":2")
    recorder.record(record(CANDIDATE))
    recorder.close()
    edge = log.edge()
    seen = log.samples(ERROR, comparison(), since=edge.replace(":3", ":0"), until=edge)
    assert (seen.stable.total, seen.candidate.total, seen.candidate.bad) == (1, 2, 1)
    first = log.records(after=0, limit=1)[0][1]
    assert (first.request_id, first.pinned, first.cold, first.path) == ("r1", False, False, "")
    assert first.error_class is None


def test_a_gateway_of_the_old_version_can_go_on_writing(old_log: Path) -> None:
    TrafficLogRecorder(old_log).close()
    with sqlite3.connect(old_log) as connection:
        connection.execute(OLD_ROW)
    assert [row.request_id for _, row in TrafficLog(old_log).records(after=1, limit=9)] == ["r2", "r3"]


def test_an_old_log_says_what_brings_it_up_to_date(old_log: Path) -> None:
    with pytest.raises(MetricsUnavailable, match=f"has schema 1, not {SCHEMA_VERSION}") as raised:
        TrafficLog(old_log).edge()
    assert "when it starts" in raised.value.advice


def test_many_gateways_bring_an_old_log_up_to_date_at_once(old_log: Path) -> None:
    recorders: list[TrafficLogRecorder] = []
    openers = [
        threading.Thread(target=lambda: recorders.append(TrafficLogRecorder(old_log))) for _ in range(6)
    ]
    for opener in openers:
        opener.start()
    for opener in openers:
        opener.join()
    for recorder in recorders:
        recorder.record(record())
        recorder.close()
    assert len(recorders) == 6
    assert len(TrafficLog(old_log).records(after=0, limit=99)) == 8


def test_the_table_has_a_column_for_each_thing_that_is_recorded(path: Path, tmp_path: Path) -> None:
    old = tmp_path / "old.sqlite"
    with sqlite3.connect(old) as connection:
        connection.executescript(OLD_LOG)
    for log in (path, old):
        TrafficLogRecorder(log).close()
        with sqlite3.connect(log) as connection:
            columns = [row[1] for row in connection.execute("PRAGMA table_info(requests)")]
        assert columns == ["id", *(field.name for field in dataclasses.fields(RequestRecord))]


def test_rows_come_back_as_they_were_recorded(path: Path) -> None:
    rows = [
        record(STABLE),
        record(
            CANDIDATE,
            status=0,
            error="no answer",
            error_class=ErrorClass.TIMEOUT,
            conversation_hash="c",
            path="/v1/completions",
            streamed=True,
            replica="r0",
            cold=True,
            retry_of="x",
            pinned=True,
            first_token_ms=1.5,
            inter_token_ms=0.5,
            prompt_tokens=3,
            finish_reason="length",
            refused=False,
            personal_data=True,
            toxic=None,
            format_valid=None,
        ),
    ]
    write(path, *rows)
    assert [row for _, row in TrafficLog(path).records(after=0, limit=9)] == rows
    assert type(TrafficLog(path).records(after=1, limit=9)[0][1].error_class) is ErrorClass


def test_rows_are_read_a_page_at_a_time(path: Path) -> None:
    write(path, *(record() for _ in range(10)))
    log = TrafficLog(path)
    assert [number for number, _ in log.records(after=3, limit=4)] == [4, 5, 6, 7]
    assert (
        log.records(after=10, limit=4)
        == log.records(after=2**80, limit=4)
        == log.records(after=0, limit=0)
        == []
    )


def test_pairs_are_complete_newest_first_and_have_the_texts_that_were_kept(path: Path) -> None:
    texts = Texts(request='{"model": "bot"}', answer="ja ✓")
    first, second, third = pair(routed_at=10.0), pair(routed_at=20.0), pair(routed_at=30.0)
    write(path, (first[0], texts), (first[1], texts), *second, *third[:1], *third[1:])
    found = list(TrafficLog(path).pairs(comparison(Stage.SHADOW), since=15.0, limit=9))
    assert [(each.stable, each.candidate) for each in found] == [tuple(third), tuple(second)]
    (oldest,) = list(TrafficLog(path).pairs(comparison(Stage.SHADOW), since=0.0, limit=9))[2:]
    assert (oldest.stable_texts, oldest.candidate_texts) == (texts, texts)
    assert found[0].stable_texts is None
    assert len(list(TrafficLog(path).pairs(comparison(Stage.SHADOW), since=0.0, limit=2))) == 2


def test_what_is_no_pair_is_not_among_them(path: Path) -> None:
    other = pair()
    write(
        path,
        *pair(status=499, error=None),
        *pair(pinned=True),
        *pair(stable={"pinned": True}),
        dataclasses.replace(other[0], served="bot-0.9.0-z"),
        other[1],
        record(STABLE, mirrored=True),
        record(CANDIDATE, shadow=True, pair="nobody"),
    )
    assert list(TrafficLog(path).pairs(comparison(Stage.SHADOW), since=0.0, limit=9)) == []


def test_a_failed_copy_is_a_pair_whose_text_is_missing(path: Path) -> None:
    write(path, *pair(status=500))
    (found,) = TrafficLog(path).pairs(comparison(Stage.SHADOW), since=0.0, limit=9)
    assert (found.candidate.status, found.candidate_texts) == (500, None)


def test_half_a_character_in_a_text_is_stored_as_a_question_mark(path: Path) -> None:
    write(path, (record(), Texts(request="a\ud800b", answer="\udfff")))
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT request, answer FROM texts").fetchall() == [("a?b", "?")]


def test_feedback_is_summed_by_adapter_with_the_last_word_of_each_answer(path: Path) -> None:
    one, two, three, other = (
        record(STABLE),
        record(CANDIDATE),
        record(CANDIDATE),
        record(CANDIDATE, name="other"),
    )
    copy = record(CANDIDATE, shadow=True, pair=one.request_id)

    def said(row: RequestRecord, **changes: object) -> Feedback:
        return Feedback(request_id=row.request_id, at=1.0, **changes)  # type: ignore[arg-type]

    write(
        path,
        *(one, two, three, other, copy),
        told=(
            said(one, thumbs=1, score=0.5),
            said(two, thumbs=-1),
            said(two, thumbs=1, conversion="bought"),
            said(two, conversion="bought"),
            said(three, score=0.25, conversion="called"),
            said(three, score=0.75),
            said(other, thumbs=-1),
            said(copy, thumbs=-1),
            Feedback(request_id="f" * 32, at=1.0, thumbs=-1),
        ),
    )
    assert TrafficLog(path).feedback("bot") == {
        STABLE: FeedbackCounts(
            answers=1, thumbs_up=1, thumbs_down=0, scored=1, mean_score=0.5, conversions={}
        ),
        CANDIDATE: FeedbackCounts(
            answers=2,
            thumbs_up=1,
            thumbs_down=0,
            scored=1,
            mean_score=0.75,
            conversions={"bought": 1, "called": 1},
        ),
    }
    assert TrafficLog(path).feedback("nobody") == {}
