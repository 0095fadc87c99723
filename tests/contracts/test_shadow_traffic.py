"""Shadow traffic as its two sources tell it: the log itself, and the gateways that write to it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from rollout.core.metric import Comparison, NotCopied, Pair, RequestRecord, Stage, Texts
from rollout.errors import MetricsUnavailable, Unsupported
from rollout.integrations.gateways.shadowed import GatewayShadow
from rollout.integrations.trafficlog import TrafficLog, TrafficLogRecorder
from rollout.integrations.trafficlog.retention import Retention
from rollout.integrations.trafficlog.shadowed import ShadowLog
from rollout.ports import ShadowTraffic
from tests.support.gateway import eventually
from tests.support.remote import log_client
from tests.support.shadows import NEW, OLD, row

NAME = "support-triage"
COMPARISON = Comparison(name=NAME, stable=OLD, candidate=NEW, stage=Stage.SHADOW)
Open = Callable[..., ShadowTraffic]


def open_remote(path: Path, edge: str | None = None) -> ShadowTraffic:
    """Two gateways that share the log."""
    return GatewayShadow([log_client(path), log_client(path, name="g1")], edge)


SOURCES: dict[str, Open] = {"log": ShadowLog, "gateways": open_remote}


@pytest.fixture(params=SOURCES.values(), ids=SOURCES.keys())
def opened(request: pytest.FixtureRequest) -> Open:
    found: Open = request.param
    return found


def write(path: Path, *rows: RequestRecord, texts: bool = False) -> Path:
    recorder = TrafficLogRecorder(path)
    for record in rows:
        recorder.record(record, Texts(request='{"prompt": "hi"}', answer="yes") if texts else None)
    recorder.close()
    assert recorder.dropped == 0
    return path


def both(number: int, at: float, **copy: object) -> tuple[RequestRecord, RequestRecord]:
    pair = row(f"s{number}", shadow=False, routed_at=at), row(f"c{number}", shadow=True, routed_at=at)
    return pair[0], replace(pair[1], **copy)  # type: ignore[arg-type]


def ids(pairs: list[Pair]) -> list[str]:
    return [pair.stable.request_id for pair in pairs]


def test_pairs_are_read_newest_first_and_since_a_time(tmp_path: Path, opened: Open) -> None:
    log = write(tmp_path / "t.sqlite", *both(1, 100.0), *both(2, 200.0), *both(3, 300.0))
    assert ids(list(opened(log).pairs(COMPARISON, since=0.0, limit=9))) == ["s3", "s2", "s1"]
    assert ids(list(opened(log).pairs(COMPARISON, since=200.0, limit=9))) == ["s3", "s2"]
    assert ids(list(opened(log).pairs(COMPARISON, since=0.0, limit=1))) == ["s3"]


def test_a_pair_is_the_rows_as_they_were_recorded(tmp_path: Path, opened: Open) -> None:
    stable, copy = both(1, 100.0, status=500, latency_ms=12.5, cold=True)
    log = write(tmp_path / "t.sqlite", stable, copy)
    (found,) = opened(log).pairs(COMPARISON, since=0.0, limit=9)
    assert (found.stable, found.candidate) == (stable, copy)


def test_what_was_not_dealt_or_not_carried_to_its_end_is_no_pair(tmp_path: Path, opened: Open) -> None:
    given_up = both(1, 1.0, status=499)
    pinned = replace(both(2, 1.0)[0], pinned=True), both(2, 1.0)[1]
    other_name = tuple(replace(each, name="other") for each in both(3, 1.0))
    older = both(4, 1.0, served="support-triage-1.0.9")
    alone = row("s5", shadow=False, routed_at=1.0)
    log = write(tmp_path / "t.sqlite", *given_up, *pinned, *other_name, *older, alone)
    source = opened(log)
    assert list(source.pairs(COMPARISON, since=0.0, limit=9)) == []
    assert source.copies(COMPARISON, since=0.0).pairs == 0


def test_copies_are_counted_with_why_there_are_not_more(tmp_path: Path, opened: Open) -> None:
    skipped = [
        replace(row(f"s{number}", shadow=False, routed_at=5.0), mirrored=False, not_copied=why)
        for number, why in enumerate(["tools", "budget", "budget", None], start=10)
    ]
    early = replace(row("s20", shadow=False, routed_at=1.0), mirrored=False, not_copied="load")
    log = write(tmp_path / "t.sqlite", *both(1, 5.0), *skipped, early)
    found = opened(log).copies(COMPARISON, since=2.0)
    assert (found.requests, found.copied, found.pairs) == (5, 1, 1)
    assert found.not_copied == {NotCopied.TOOLS: 1, NotCopied.BUDGET: 2}


def keep_the_last(path: Path, count: int) -> None:
    """Let the retention of a gateway remove the rows of before."""
    now = time.time()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE requests SET routed_at = ?", (now,))
        last = connection.execute("SELECT max(id) FROM requests").fetchone()[0] - count
        connection.execute("UPDATE requests SET routed_at = ? WHERE id <= ?", (now - 3 * 86_400, last))
    recorder = TrafficLogRecorder(path, retention=Retention(keep_days=2))
    eventually(lambda: len(TrafficLog(path).records(after=0, limit=99)) == count)
    recorder.close()


def test_evidence_that_was_removed_in_part_is_none(tmp_path: Path, opened: Open) -> None:
    path = write(tmp_path / "t.sqlite", *both(1, 1.0))
    edge = TrafficLog(path).edge()
    write(path, *both(2, 1.0, status=500), *both(3, 1.0))
    began = time.time() - 4 * 86_400
    keep_the_last(path, 2)
    source = opened(path, edge)
    with pytest.raises(MetricsUnavailable, match="of this time was removed"):
        source.copies(COMPARISON, since=began)
    with pytest.raises(MetricsUnavailable, match="of this time was removed"):
        list(source.pairs(COMPARISON, since=began, limit=9))
    assert ids(list(opened(path).pairs(COMPARISON, since=0.0, limit=9))) == ["s3"], "all that is there"


def test_evidence_that_was_removed_as_a_whole_is_none(tmp_path: Path, opened: Open) -> None:
    path = write(tmp_path / "t.sqlite", *both(1, 1.0))
    edge = TrafficLog(path).edge()
    write(path, *both(2, 1.0))
    keep_the_last(path, 0)
    with pytest.raises(MetricsUnavailable, match="of this time was removed"):
        opened(path, edge).copies(COMPARISON, since=1.0)


def test_what_was_removed_of_before_is_no_part_of_the_evidence(tmp_path: Path, opened: Open) -> None:
    path = write(tmp_path / "t.sqlite", *both(1, 1.0))
    edge = TrafficLog(path).edge()
    write(path, *both(2, 1.0), *both(3, 1.0))
    keep_the_last(path, 4)
    assert opened(path, edge).copies(COMPARISON, since=1.0).pairs == 2
    later = time.time() + 60
    keep_the_last(path, 2)
    assert opened(path, edge).copies(COMPARISON, since=later).pairs == 0, "a later time is whole"


def test_another_log_than_that_of_the_release_has_no_evidence(tmp_path: Path, opened: Open) -> None:
    path = write(tmp_path / "t.sqlite", *both(1, 9.0))
    other = TrafficLog(write(tmp_path / "other.sqlite", *both(1, 1.0))).edge()
    with pytest.raises(MetricsUnavailable):
        opened(path, other).copies(COMPARISON, since=1.0)


def test_a_log_that_is_not_there_is_unavailable(tmp_path: Path, opened: Open) -> None:
    with pytest.raises(MetricsUnavailable):
        opened(tmp_path / "none.sqlite").copies(COMPARISON, since=0.0)


def test_gateways_are_asked_only_for_rows_behind_the_edge_of_the_release(tmp_path: Path) -> None:
    path = write(tmp_path / "t.sqlite", *both(1, 1.0))
    edge = ShadowLog(path).edge()
    write(path, *both(2, 1.0))
    remote = GatewayShadow([log_client(path)], edge)
    assert ids(list(remote.pairs(COMPARISON, since=0.0, limit=9))) == ["s2"]


def test_gateways_with_logs_of_their_own_are_added_up(tmp_path: Path) -> None:
    one, other = (
        write(tmp_path / f"{name}.sqlite", *both(number, 1.0)) for number, name in ((1, "a"), (2, "b"))
    )
    remote = GatewayShadow([log_client(one), log_client(other, name="g1")], None)
    assert sorted(ids(list(remote.pairs(COMPARISON, since=0.0, limit=9)))) == ["s1", "s2"]


def test_gateways_give_no_questions_away(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="give no questions of support-triage away"):
        open_remote(tmp_path / "t.sqlite").questions(NAME, since=0.0)


def test_questions_are_those_of_users_whose_texts_were_kept_oldest_first(tmp_path: Path) -> None:
    path = write(tmp_path / "t.sqlite", *both(1, 1.0), *both(2, 2.0), texts=True)
    write(path, *both(3, 3.0), row("s4", shadow=False, routed_at=4.0, path="/v1/embeddings"))
    found = list(ShadowLog(path).questions(NAME, since=0.0))
    assert [(each.id, each.at, each.path) for each in found] == [
        ("s1", 1.0, "/v1/chat/completions"),
        ("s2", 2.0, "/v1/chat/completions"),
    ]
    assert list(ShadowLog(path).questions(NAME, since=1.5)) == found[1:]


def test_many_questions_are_read_page_by_page(tmp_path: Path) -> None:
    rows = [row(f"s{number}", shadow=False, routed_at=float(number)) for number in range(1203)]
    path = write(tmp_path / "t.sqlite", *rows, texts=True)
    assert len(list(ShadowLog(path).questions(NAME, since=0.0))) == 1203
