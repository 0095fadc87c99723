"""Series by version: they agree with the traffic log to the request, and their number is bounded."""

from __future__ import annotations

import contextlib
import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from rollout.core.metric import Comparison, Feedback, MetricSpec, RequestRecord, Stage, Texts
from rollout.gateway import telemetry as module
from rollout.gateway import units as units_module
from rollout.gateway.series import PREFIX, SERIES
from rollout.gateway.tally import outcome_of
from rollout.gateway.telemetry import OTHER, Telemetry
from rollout.gateway.units import UnitMinutes
from rollout.ports import FlagDataStatus
from tests.contracts.test_metric_source import record, spec
from tests.support.gateway import CANDIDATE, NAME, STABLE, World, eventually, running
from tests.support.upstream import Behaviour

Counts = dict[tuple[str, ...], float]


class Rows:
    """A recorder that keeps what it is given."""

    def __init__(self) -> None:
        self.rows: list[RequestRecord] = []

    def record(self, request: RequestRecord, texts: Texts | None = None) -> None:
        self.rows.append(request)

    def tell(self, feedback: Feedback) -> None:
        pass

    def close(self) -> None:
        pass


def page_of(telemetry: Telemetry) -> str:
    flags = FlagDataStatus(ready=True, age_s=0.0, error=None, versions={})
    return telemetry.exposition(flags, routes_revision=1, routes_age_s=0.0).decode()


def counted(page: str, series: str, *labels: str) -> Counts:
    """Values of a counter, or of the number of a histogram's values, by these of its labels."""
    found: Counter[tuple[str, ...]] = Counter()
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name in (f"{PREFIX}{series}", f"{PREFIX}{series}_count"):
                found[tuple(sample.labels[label] for label in labels)] += sample.value
    return {key: value for key, value in found.items() if value}


def logged(rows: list[dict[str, Any]], *columns: str, where: Any = lambda _: True) -> Counts:
    found = Counter(tuple(str(row[column]) for column in columns) for row in rows if where(row))
    return {key: float(value) for key, value in found.items()}


def ask_for_all_kinds_of_trouble(world: World, number: int) -> None:
    """Requests of users who get whole answers and streams, errors, and who leave."""
    dice = random.Random(number)
    user = f"user-{dice.randrange(20)}" if dice.random() < 0.9 else None
    kind = dice.choice(["whole", "whole", "stream", "stream", "leave", "tools", "bad"])
    headers = {"x-user-id": user} if user else {}
    body: dict[str, Any] = {"model": NAME, "messages": [{"role": "user", "content": "hi"}]}
    if kind == "tools":
        body |= {"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "required"}
    url = f"{world.url}/v1/chat/completions"
    if kind == "bad":
        httpx.post(url, json={"messages": []}, timeout=20)
    elif kind in ("stream", "leave"):
        asked = {**body, "stream": True}
        with (
            contextlib.suppress(httpx.RemoteProtocolError),
            httpx.stream("POST", url, json=asked, headers=headers, timeout=20) as answer,
        ):
            for _ in answer.iter_raw():
                if kind == "leave":
                    break
    else:
        httpx.post(url, json=body, headers=headers, timeout=20)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The page and the rows of a gateway after a run of everything that can happen."""
    examine = {"refusals": "100%", "personal_data": "100%"}
    with running(tmp_path_factory.mktemp("mixed"), gateway={"examine": examine}) as world:
        world.route(2, mirror="100%")
        world.dial("50%")
        text = '{"intent": "billing"}'
        world.upstream.models[STABLE] = Behaviour(text=text, token_delay_s=0.001)
        world.upstream.models[CANDIDATE] = Behaviour(
            text="I'm sorry, but I can't help with that. Ask jane@corp.com"
        )
        with ThreadPoolExecutor(8) as users:
            list(users.map(lambda number: ask_for_all_kinds_of_trouble(world, number), range(150)))
        world.upstream.models[CANDIDATE] = Behaviour(status=500)
        with ThreadPoolExecutor(8) as users:
            list(users.map(lambda number: ask_for_all_kinds_of_trouble(world, number), range(150, 220)))
        world.upstream.models[CANDIDATE] = Behaviour(text=text, break_after=3)
        with ThreadPoolExecutor(8) as users:
            list(users.map(lambda number: ask_for_all_kinds_of_trouble(world, number), range(220, 300)))
        eventually(lambda: not any(world.status()["in_flight"].values()), within_s=20)
        time.sleep(0.1)
        rows = world.rows()
        yield world.client.get("/metrics").text, rows, world.log


ADAPTER = ("name", "served", "shadow", "slot")


def test_the_run_has_a_bit_of_everything(mixed: Any) -> None:
    page, rows, _ = mixed
    assert counted(page, "traffic_rows_lost") == counted(page, "unexamined_total") == {}
    for something in ("retry_of", "error", "error_class", "key_hash", "finish_reason", "not_copied"):
        assert any(row[something] is not None for row in rows), something
    assert {row["status"] for row in rows} >= {200, 499, 500}
    assert any(row["shadow"] for row in rows)
    assert any(row["streamed"] for row in rows)


@pytest.mark.parametrize(
    ("series", "column", "label"),
    [("errors_total", "error_class", "class"), ("finish_total", "finish_reason", "reason")],
)
def test_series_by_class_agree_with_the_log(mixed: Any, series: str, column: str, label: str) -> None:
    page, rows, _ = mixed
    expected = logged(rows, *ADAPTER, column, where=lambda row: row[column] is not None)
    assert expected
    assert counted(page, series, *ADAPTER, label) == expected


@pytest.mark.parametrize("series", ["requests_total", "latency_seconds"])
def test_requests_by_version_agree_with_the_log_to_the_request(mixed: Any, series: str) -> None:
    page, rows, _ = mixed
    assert counted(page, series, *ADAPTER) == logged(rows, *ADAPTER)


@pytest.mark.parametrize(
    ("series", "holds"),
    [
        ("first_byte_seconds", lambda row: row["first_byte_ms"] is not None),
        ("first_token_seconds", lambda row: row["first_token_ms"] is not None),
        ("inter_token_seconds", lambda row: row["inter_token_ms"] is not None),
        ("unkeyed_total", lambda row: not row["keyed"]),
        ("retries_total", lambda row: row["retry_of"] is not None),
        ("output_chars", lambda row: 200 <= row["status"] <= 299 and row["error"] is None),
    ],
)
def test_series_of_some_requests_agree_with_the_log(mixed: Any, series: str, holds: Any) -> None:
    page, rows, _ = mixed
    expected = logged(rows, *ADAPTER, where=holds)
    assert expected
    assert counted(page, series, *ADAPTER) == expected


@pytest.mark.parametrize(
    ("look", "column", "bad"),
    [("format", "format_valid", 0), ("refusal", "refused", 1), ("personal_data", "personal_data", 1)],
)
def test_what_was_found_in_answers_agrees_with_the_log(mixed: Any, look: str, column: str, bad: int) -> None:
    page, rows, _ = mixed
    for series, holds in (
        ("examined_total", lambda row: row[column] is not None),
        ("found_total", lambda row: row[column] == bad),
    ):
        expected = {(*key, look): value for key, value in logged(rows, *ADAPTER, where=holds).items()}
        assert expected, series
        seen = counted(page, series, *ADAPTER, "look")
        assert {key: value for key, value in seen.items() if key[-1] == look} == expected, series


@pytest.mark.parametrize("column", ["prompt_tokens", "completion_tokens"])
def test_tokens_agree_with_the_log(mixed: Any, column: str) -> None:
    page, rows, _ = mixed
    expected: Counter[tuple[str, ...]] = Counter()
    for row in rows:
        expected[tuple(str(row[label]) for label in ADAPTER)] += row[column] or 0
    assert counted(page, f"{column}_total", *ADAPTER) == {
        key: value for key, value in expected.items() if value
    }


def test_users_a_minute_are_those_that_the_judge_counts(mixed: Any) -> None:
    page, _, log = mixed
    metric: MetricSpec = spec("error", per="unit_minute")
    since, until = log.edge().rpartition(":")[0] + ":0", log.edge()
    compared = Comparison(name=NAME, stable=STABLE, candidate=CANDIDATE, stage=Stage.CANARY)
    found = log.samples(metric, compared, since=since, until=until).candidate
    key = (NAME, CANDIDATE, "0", "candidate")
    assert counted(page, "unit_minutes_total", *ADAPTER)[key] == found.total
    assert counted(page, "unit_minutes_bad_total", *ADAPTER)[key] == found.bad > 0


def test_slots_and_reasons_agree_with_the_log(mixed: Any) -> None:
    page, rows, _ = mixed
    expected = logged(rows, "name", "flag_reason", "slot", where=lambda row: not row["shadow"])
    assert counted(page, "decisions_total", "name", "reason", "slot") == expected


def test_requests_that_were_not_copied_agree_with_the_log(mixed: Any) -> None:
    page, rows, _ = mixed
    expected = logged(rows, "name", "not_copied", where=lambda row: row["not_copied"] is not None)
    assert expected
    assert counted(page, "mirror_dropped_total", "name", "reason") == expected


def test_requests_that_nobody_got_are_counted(mixed: Any) -> None:
    page, _, _ = mixed
    assert counted(page, "refused_total", "status").keys() == {("400",)}


def test_every_sample_has_the_labels_of_its_series(mixed: Any) -> None:
    page, _, _ = mixed
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            name = sample.name.removeprefix(PREFIX)
            series = SERIES.get(name) or SERIES[name.rpartition("_")[0]]
            assert tuple(label for label in sample.labels if label != "le") == series.labels


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({}, "good"),
        ({"error": "no"}, "failed"),
        ({"status": 499}, "left"),
        ({"status": 499, "error": "no"}, "failed"),
        ({"status": 400}, "rejected"),
        ({"status": 404}, "rejected"),
        ({"status": 404, "error": "the server does not have the adapter"}, "failed"),
        ({"status": 400, "error": "not finite"}, "failed"),
        *(({"status": status}, "failed") for status in (0, 100, 304, 408, 429, 500, 599, 799)),
    ],
)
def test_outcomes_are_those_of_the_log(changes: dict[str, Any], outcome: str) -> None:
    assert outcome_of(record(**changes)) == outcome


def test_cold_answers_are_apart_from_steady_ones() -> None:
    telemetry = Telemetry(Rows(), salt=b"")
    for cold in (True, False, False):
        telemetry.end(record(cold=cold, first_token_ms=5.0))
    page = page_of(telemetry)
    for series in ("latency_seconds", "first_byte_seconds", "first_token_seconds"):
        assert counted(page, series, "cold") == {("1",): 1.0, ("0",): 2.0}


def test_what_a_tester_pinned_is_counted_and_is_nobodys_minute() -> None:
    telemetry = Telemetry(Rows(), salt=b"")
    telemetry.end(record(pinned=True))
    page = page_of(telemetry)
    assert counted(page, "pinned_total") == {(): 1.0}
    assert counted(page, "unit_minutes_total") == {}


def test_more_versions_than_the_limit_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_ADAPTERS", 3)
    telemetry = Telemetry(Rows(), salt=b"")
    for number in range(10):
        telemetry.end(record(f"v{number}", slot="stable"))
        telemetry.end(record(f"v{number}", slot="stable", shadow=True))
    page = page_of(telemetry)
    seen = counted(page, "requests_total", "name", "served")
    assert seen == {**{("bot", f"v{number}"): 2.0 for number in range(3)}, (OTHER, OTHER): 14.0}
    assert counted(page, "served_beyond_limit") == {(): 1.0}


def test_versions_that_left_the_routes_are_forgotten_and_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_ADAPTERS", 3)
    monkeypatch.setattr(module, "_IDLE_S", 0.0)
    in_routes = ["v0"]
    telemetry = Telemetry(Rows(), salt=b"", in_routes=lambda: in_routes)
    for number in range(10):
        telemetry.begin(f"v{number}", shadow=False)
        telemetry.end(record(f"v{number}", slot="stable"))
        assert telemetry.has_answered("v0")
    telemetry.begin("v9", shadow=False)
    seen = counted(page_of(telemetry), "requests_total", "served")
    assert (OTHER,) not in seen
    assert ("v0",) in seen, "the routes name it"
    assert ("v9",) in seen, "a request is under way"
    assert set(telemetry.last_routed) == {"v0", "v9"}
    assert not telemetry.has_answered("v5")


def test_reasons_without_end_are_one() -> None:
    telemetry = Telemetry(Rows(), salt=b"")
    for number in range(2000):
        telemetry.end(record(flag_reason=f"reason {number}"))
    seen = counted(page_of(telemetry), "decisions_total", "reason")
    assert seen == {("OTHER",): 2000.0}


def test_refusals_without_end_are_bounded() -> None:
    telemetry = Telemetry(Rows(), salt=b"")
    for number in range(2000):
        telemetry.refused(number)
    seen = counted(page_of(telemetry), "refused_total", "status")
    assert len(seen) <= module._MOST_COUNTS + 1
    assert sum(seen.values()) == 2000.0
    assert seen[(OTHER,)] > 1000


def test_units_beyond_the_limit_are_overflow_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units_module, "_MOST", 5)
    units = UnitMinutes()
    seen = [units.add("v", f"u{number}", 60.0, bad=False) for number in range(8)]
    assert seen == [(1, 0)] * 5 + [(0, 0)] * 3
    assert units.overflow == 3
    assert units.add("v", "u0", 61.0, bad=True) == (0, 1)
    assert units.add("v", "u0", 62.0, bad=True) == (0, 0)
    assert units.add("w", "u0", 60.0 * 1000, bad=True) == (1, 1), "minutes long past make room"
    assert units.add("v", "u0", 60.0, bad=False) == (0, 0), "too late for its minute"
    assert units.overflow == 4


def test_users_without_a_key_have_a_voice_a_request() -> None:
    telemetry = Telemetry(Rows(), salt=b"")
    for status in (200, 500, 200):
        telemetry.end(record(keyed=False, key_hash=None, status=status))
    for _ in range(3):
        telemetry.end(record(keyed=False, key_hash=None, conversation_hash="c"))
    page = page_of(telemetry)
    assert counted(page, "unit_minutes_total") == {(): 4.0}
    assert counted(page, "unit_minutes_bad_total") == {(): 1.0}


@pytest.mark.parametrize(
    ("changes", "all_of_them", "bad"),
    [
        ({"status": 400}, 1.0, 1.0),
        ({"status": 500}, 1.0, 1.0),
        ({"error": "it broke off"}, 1.0, 1.0),
        ({"status": 499, "first_byte_ms": None}, 0.0, 0.0),
        ({"status": 499, "latency_ms": 20_000.0}, 0.0, 0.0),
        ({"status": 499, "latency_ms": 20_000.0, "first_byte_ms": None}, 1.0, 1.0),
        ({"retry_of": "x", "status": 500}, 0.0, 0.0),
    ],
)
def test_a_users_minute_is_bad_as_errors_are_in_a_canary(
    changes: dict[str, Any], all_of_them: float, bad: float
) -> None:
    telemetry = Telemetry(Rows(), salt=b"")
    telemetry.end(record(**changes))
    page = page_of(telemetry)
    assert counted(page, "unit_minutes_total").get((), 0.0) == all_of_them
    assert counted(page, "unit_minutes_bad_total").get((), 0.0) == bad


def test_only_the_last_answers_are_remembered_for_feedback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REMEMBERED", 3)
    telemetry = Telemetry(Rows(), salt=b"")
    answers = [record() for _ in range(5)]
    for answer in answers:
        telemetry.end(answer)
    telemetry.end(copy := record(shadow=True))
    for said in (*answers, copy):
        telemetry.tell(Feedback(request_id=said.request_id, at=1.0, thumbs=1))
    page = page_of(telemetry)
    assert counted(page, "feedback_total", "kind") == {("up",): 3.0}
    assert counted(page, "feedback_unmatched_total") == {(): 3.0}
