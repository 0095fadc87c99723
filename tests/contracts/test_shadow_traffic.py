"""Shadow traffic as its two sources tell it: the log itself, and the gateways that write to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rollout.core.metric import Comparison, NotCopied, Pair, RequestRecord, Stage, Texts
from rollout.errors import MetricsUnavailable, Unsupported
from rollout.integrations.gateways.shadowed import GatewayShadow
from rollout.integrations.trafficlog import TrafficLogRecorder
from rollout.integrations.trafficlog.shadowed import ShadowLog
from rollout.ports import ShadowTraffic
from tests.support.remote import log_client
from tests.support.shadows import NEW, OLD, row

NAME = "support-triage"
COMPARISON = Comparison(name=NAME, stable=OLD, candidate=NEW, stage=Stage.SHADOW)
Open = Callable[[Path], ShadowTraffic]


def open_remote(path: Path) -> ShadowTraffic:
    """Two gateways that share the log."""
    return GatewayShadow([log_client(path), log_client(path, name="g1")], None)


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
