"""Recorded traffic, let happen again: counted as the log counts it, and dealt by chance where nobody differs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rollout.core.metric import Comparison, MetricSpec, RequestRecord, Stage
from rollout.core.plan import Share
from rollout.core.played import Slice
from rollout.errors import MetricsUnavailable, Unreadable
from rollout.integrations.trafficlog import TrafficLog, TrafficLogRecorder
from rollout.integrations.trafficlog.past import PastTraffic
from rollout.integrations.trafficlog.replayed import ReplayedTraffic
from tests.support.site import NAME, record

EPOCH = datetime(2026, 3, 1, tzinfo=UTC)
BEGINS = datetime(2024, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def spec(**changes: object) -> MetricSpec:
    return MetricSpec.model_validate(
        {
            "schema": "adapter-rollout/metric/v1",
            "id": "m",
            "title": "m",
            "kind": "rate",
            "event": "error",
            "direction": "lower_is_better",
            "max_abs": 0.01,
            "min_samples": 1,
            "on_missing": "inconclusive",
            "stages": ["canary"],
            **changes,
        }
    )


LATENCY = {"kind": "latency", "event": None, "measure": "end_to_end", "max_abs": None, "max_ratio": 1.2}


def rows(number: int = 1200, *, users: int = 300) -> list[RequestRecord]:
    """One every three seconds, of `old` and `new` by turns; every seventh fails."""
    return [
        replace(
            record(f"r{place}", "new" if place % 3 == 0 else "old", key=f"u{place % users}"),
            routed_at=EPOCH.timestamp() + 3 * place,
            latency_ms=100.0 + place % 50,
            status=500 if place % 7 == 0 else 200,
            error="x" if place % 7 == 0 else None,
        )
        for place in range(number)
    ]


def logged(folder: Path, found: list[RequestRecord]) -> Path:
    path = folder / "traffic.sqlite"
    recorder = TrafficLogRecorder(path)
    for row in found:
        recorder.record(row)
    recorder.close()
    return path


def hour(share: str = "10%", stage: Stage = Stage.CANARY, *, since: timedelta = timedelta(0)) -> Slice:
    return Slice(stage=stage, share=Share.parse(share), since=BEGINS + since, until=BEGINS + since + HOUR)


@pytest.mark.parametrize("of", [spec(), spec(**LATENCY), spec(per="unit_minute")])
def test_a_canary_as_it_was_shows_what_the_log_shows(tmp_path: Path, of: MetricSpec) -> None:
    path = logged(tmp_path, rows())
    past = PastTraffic(path)
    comparison = Comparison(name=NAME, stable="old", candidate="new", stage=Stage.CANARY)
    truth = TrafficLog(path).samples(of, comparison, since=past.edge_at(0), until=past.edge())
    found = past.rows(NAME, since=0, until=4e9)
    replayed = ReplayedTraffic(found, stable="old", candidate="new", seed=0)
    replayed.begin(0, BEGINS)
    played = replayed.play([of], hour())
    (samples,) = played.samples
    assert played.met == 400
    assert replace(samples, since="", until="") == replace(truth, since="", until="")


def dealt(traffic: ReplayedTraffic, share: str, *, run: int = 0, since: timedelta = timedelta(0)) -> int:
    traffic.begin(run, BEGINS)
    return traffic.play([], hour(share, since=since)).met


def test_one_version_is_dealt_at_the_plans_share_and_users_stay_while_it_grows() -> None:
    only = [replace(row, served="old") for row in rows(users=600)]
    traffic = ReplayedTraffic(only, stable="old", candidate=None, seed=3)
    few, many, all_ = dealt(traffic, "10%"), dealt(traffic, "50%"), dealt(traffic, "100%")
    assert 60 < few < 180
    assert 500 < many < 700
    assert all_ == 1200
    assert dealt(traffic, "0%") == 0
    assert dealt(traffic, "10%") == few


def test_other_runs_rounds_and_seeds_draw_other_users() -> None:
    only = [replace(row, served="old") for row in rows(users=600)]
    traffic = ReplayedTraffic(only, stable="old", candidate=None, seed=3)
    other = ReplayedTraffic(only, stable="old", candidate=None, seed=4)
    first = dealt(traffic, "50%")
    round_ = timedelta(seconds=traffic.seconds)
    found = {first, dealt(traffic, "50%", run=1), dealt(traffic, "50%", since=round_), dealt(other, "50%")}
    assert len(found) > 1


def test_who_has_no_key_is_never_dealt_to_the_candidate_below_the_whole() -> None:
    only = [replace(row, served="old", key_hash=None, keyed=False) for row in rows(100)]
    traffic = ReplayedTraffic(only, stable="old", candidate=None, seed=3)
    assert dealt(traffic, "99%") == 0
    assert dealt(traffic, "100%") == 100


def test_a_window_comes_again_where_the_plan_is_longer() -> None:
    traffic = ReplayedTraffic(rows(), stable="old", candidate="new", seed=0)
    traffic.begin(0, BEGINS)
    first = traffic.play([spec()], hour())
    again = traffic.play([spec()], hour(since=timedelta(seconds=traffic.seconds)))
    assert first.met == again.met == 400


def test_rows_of_neither_version_are_left_out_and_none_at_all_is_unreadable() -> None:
    assert ReplayedTraffic(rows(), stable="old", candidate=None, seed=0).requests == 800
    with pytest.raises(Unreadable, match="has no requests of nobody"):
        ReplayedTraffic(rows(), stable="nobody", candidate=None, seed=0)


def test_more_rows_than_fit_are_refused_as_soon_as_they_are_met(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rollout.integrations.trafficlog.replayed.MOST_ROWS", 10)
    found = iter(rows())
    with pytest.raises(Unreadable, match=r"more than the 10 requests that fit in memory"):
        ReplayedTraffic(found, stable="old", candidate="new", seed=0)
    assert next(found).request_id == "r11"


def test_as_many_rows_as_fit_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rollout.integrations.trafficlog.replayed.MOST_ROWS", 10)
    assert ReplayedTraffic(iter(rows(10)), stable="old", candidate="new", seed=0).requests == 10


def test_the_past_is_asked_by_times_of_day(tmp_path: Path) -> None:
    past = PastTraffic(logged(tmp_path, rows()))
    start = EPOCH.timestamp()
    assert past.edge_at(start).endswith(":0")
    assert past.edge_at(start + 300).endswith(":100")
    assert past.edge_at(4e9) == past.edge()
    assert past.per_second(NAME, since=start, until=start + 3600) == pytest.approx(1 / 3)
    assert past.per_second(NAME, since=start + 3598, until=start + 3600) is None
    assert past.per_second("other", since=start, until=start + 3600) is None
    half = list(past.rows(NAME, since=start + 300, until=start + 600))
    assert [row.request_id for row in (half[0], half[-1])] == ["r100", "r199"]


def test_a_log_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(MetricsUnavailable):
        PastTraffic(tmp_path / "none.sqlite").edge_at(0)
