"""What every MetricSource must do, over every implementation."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from rollout.core.exposure import Exposure
from rollout.core.metric import Comparison, Counts, Feedback, MetricSpec, RequestRecord, Stage
from rollout.errors import Unsupported
from rollout.integrations.gateways import GatewayMetrics
from rollout.integrations.trafficlog import TrafficLog, TrafficLogRecorder
from rollout.ports import MetricSource
from rollout.wiring.metrics import counted_in_series
from tests.support.counted import CountingGateway, counting_gateway
from tests.support.prometheus import NEEDS_PROMETHEUS
from tests.support.remote import log_client

STABLE, CANDIDATE = "bot-1.0.0-a", "bot-1.1.0-b"
_ids = itertools.count()


@dataclass
class Source:
    """A source and ways to make it see requests, and what was said of them.

    One without `rows` has counters alone, and cannot tell what takes a row of each request: it says so.
    """

    metrics: MetricSource
    see: Callable[[Sequence[RequestRecord]], None]
    tell: Callable[[Sequence[Feedback]], None]
    rows: bool = True


def _traffic_log(root: Path) -> Source:
    path = root / "traffic.sqlite"
    TrafficLogRecorder(path).close()

    def see(records: Sequence[RequestRecord]) -> None:
        recorder = TrafficLogRecorder(path)
        for record in records:
            recorder.record(record)
        recorder.close()

    def tell(told: Sequence[Feedback]) -> None:
        recorder = TrafficLogRecorder(path)
        for feedback in told:
            recorder.tell(feedback)
        recorder.close()

    return Source(TrafficLog(path), see, tell)


def _gateways(root: Path) -> Source:
    """Two gateways that share the log, and one with a log of its own, each asked over HTTP."""
    shared, own = root / "traffic.sqlite", root / "own.sqlite"
    local = _traffic_log(root)
    TrafficLogRecorder(own).close()
    clients = [log_client(path, name=f"g{number}") for number, path in enumerate((shared, shared, own))]
    return Source(GatewayMetrics(clients), local.see, local.tell)


SOURCES: dict[str, Callable[[Path], Source]] = {"traffic-log": _traffic_log, "gateways": _gateways}
PROMETHEUS = "prometheus"


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CountingGateway]:
    """A gateway's counters, scraped by a real Prometheus."""
    root = tmp_path_factory.mktemp("counting")
    with counting_gateway(root, {"bot": {STABLE, CANDIDATE}}) as gateway:
        yield gateway


@pytest.fixture(params=[*sorted(SOURCES), pytest.param(PROMETHEUS, marks=NEEDS_PROMETHEUS)])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Source:
    if request.param != PROMETHEUS:
        return SOURCES[request.param](tmp_path)
    gateway: CountingGateway = request.getfixturevalue("counting")
    gateway.begin_anew()
    gateway.settle()
    return Source(gateway.metrics(), gateway.see, gateway.tell, rows=False)


def record(served: str = STABLE, **changes: Any) -> RequestRecord:
    """One good keyed answer."""
    values: dict[str, Any] = {
        "request_id": f"r{next(_ids)}",
        "name": "bot",
        "served": served,
        "slot": "stable" if served == STABLE else "candidate",
        "shadow": False,
        "mirrored": False,
        "pair": None,
        "keyed": True,
        "key_hash": "k",
        "flag_version": 1,
        "flag_reason": "FALLTHROUGH",
        "routed_at": 1000.0,
        "first_byte_ms": 5.0,
        "latency_ms": 50.0,
        "status": 200,
        "error": None,
        "format_valid": True,
        "completion_tokens": 7,
        "output_chars": 20,
    }
    return RequestRecord(**{**values, **changes})


def pair(*, stable: dict[str, Any] | None = None, **candidate: Any) -> list[RequestRecord]:
    """A request of stable and its shadow copy."""
    primary = record(STABLE, mirrored=True, **(stable or {}))
    return [primary, record(CANDIDATE, shadow=True, pair=primary.request_id, **candidate)]


def spec(event: str, **changes: Any) -> MetricSpec:
    """A metric of that event."""
    values = {
        "schema": "adapter-rollout/metric/v1",
        "id": event,
        "title": event,
        "kind": "rate",
        "event": event,
        "direction": "lower_is_better",
        "margin": 0.1,
        "min_samples": 1,
        "on_missing": "inconclusive",
        "stages": ["shadow", "canary", "bake"],
    }
    return MetricSpec.model_validate_json(json.dumps({**values, **changes}))


ERROR, FORMAT, SLOW = spec("error"), spec("format_invalid"), spec("slow", slow_after_ms=100)


THUMBS = spec("thumbs_down", stages=["canary", "bake"])
METRICS = pytest.mark.parametrize("metric", [ERROR, FORMAT, SLOW], ids=lambda metric: metric.id)


def a_minute(event: str) -> MetricSpec:
    """The metric of that event that counts users once a minute."""
    return spec(event, per="unit_minute", slow_after_ms=100)


def comparison(stage: Stage = Stage.CANARY) -> Comparison:
    return Comparison(name="bot", stable=STABLE, candidate=CANDIDATE, stage=stage)


def refuse_rows(source: Source, metric: MetricSpec, stage: Stage) -> None:
    """Skip, where a source without rows says that it cannot count this."""
    if source.rows or counted_in_series(metric, comparison(stage)):
        return
    edge = source.metrics.edge()
    with pytest.raises(Unsupported, match=r"pairs are counted in the traffic log|by request, not by unit"):
        source.metrics.samples(metric, comparison(stage), since=edge, until=edge)
    pytest.skip("it takes a row of each request")


def look(source: Source, records: Sequence[RequestRecord], metric: MetricSpec, stage: Stage) -> Any:
    """Counts of both arms over these records alone."""
    since = source.metrics.edge()
    refuse_rows(source, metric, stage)
    source.see(records)
    found = source.metrics.samples(metric, comparison(stage), since=since, until=source.metrics.edge())
    assert (found.metric, found.since) == (metric.id, since)
    return found.stable, found.candidate


def counts(total: int, bad: int) -> Counts:
    return Counts(total=total, bad=bad)


def test_no_requests_are_zero_and_not_missing(source: Source) -> None:
    assert look(source, [], ERROR, Stage.CANARY) == (counts(0, 0), counts(0, 0))


def test_arms_are_told_apart_by_the_served_adapter(source: Source) -> None:
    records = [record(STABLE), record(STABLE), record(CANDIDATE), record("bot-0.9.0-z")]
    assert look(source, records, ERROR, Stage.CANARY) == (counts(2, 0), counts(1, 0))


def test_other_adapters_and_shadow_copies_are_not_counted(source: Source) -> None:
    records = [record(STABLE, name="other"), *pair()]
    assert look(source, records, ERROR, Stage.CANARY) == (counts(1, 0), counts(0, 0))


NOT_GOOD = [0, 100, 204 + 100, 400, 401, 403, 404, 405, 408, 413, 422, 429, 500, 502, 599, 799]
REFUSED = [400, 401, 403, 404, 405, 413, 422]


@pytest.mark.parametrize("status", NOT_GOOD)
def test_what_the_user_did_not_get_is_an_error(source: Source, status: int) -> None:
    assert look(source, [record(CANDIDATE, status=status)], ERROR, Stage.CANARY)[1] == counts(1, 1)


@pytest.mark.parametrize("status", NOT_GOOD)
def test_a_copy_that_is_refused_where_stable_answered_is_the_candidates_error(
    source: Source, status: int
) -> None:
    assert look(source, pair(status=status), ERROR, Stage.SHADOW) == (counts(1, 0), counts(1, 1))


@pytest.mark.parametrize("status", [*NOT_GOOD, 499])
@pytest.mark.parametrize("stage", list(Stage))
@METRICS
def test_an_answer_that_is_not_good_is_never_counted_as_a_pass(
    source: Source, metric: MetricSpec, stage: Stage, status: int
) -> None:
    rows = {
        "status": status,
        "format_valid": None,
        "first_byte_ms": None,
        "latency_ms": 20_000.0,
        "error": "the engine says that its client left" if status == 499 else None,
    }
    records = pair(**rows) if stage is Stage.SHADOW else [record(CANDIDATE, **rows)]
    seen = look(source, records, metric, stage)[1]
    assert seen.total == seen.bad


@pytest.mark.parametrize("status", REFUSED)
def test_without_a_control_a_refusal_counts_neither_way(source: Source, status: int) -> None:
    assert look(source, [record(CANDIDATE, status=status)], ERROR, Stage.BAKE)[1] == counts(0, 0)


@pytest.mark.parametrize("stage", list(Stage))
def test_rejections_have_a_metric_of_their_own(source: Source, stage: Stage) -> None:
    statuses = [200, 500, 499, *REFUSED]
    records = [
        row
        for status in statuses
        for row in (pair(status=status) if stage is Stage.SHADOW else [record(CANDIDATE, status=status)])
    ]
    assert look(source, records, spec("rejected"), stage)[1] == counts(len(statuses) - 1, len(REFUSED))


@pytest.mark.parametrize("status", [status for status in NOT_GOOD if status not in REFUSED])
def test_without_a_control_a_failure_is_still_an_error(source: Source, status: int) -> None:
    assert look(source, [record(CANDIDATE, status=status)], ERROR, Stage.BAKE)[1] == counts(1, 1)


def test_an_adapter_that_a_server_lacks_is_no_mistake_of_the_client(source: Source) -> None:
    lacking = record(CANDIDATE, status=404, error="the server does not have the adapter")
    assert look(source, [lacking], ERROR, Stage.BAKE)[1] == counts(1, 1)


def test_rejections_of_the_same_clients_are_dealt_to_both_arms(source: Source) -> None:
    records = [record(STABLE, status=400), record(CANDIDATE, status=400)]
    assert look(source, records, ERROR, Stage.CANARY) == (counts(1, 1), counts(1, 1))


def test_an_error_inside_an_answer_is_an_error(source: Source) -> None:
    records = [record(CANDIDATE, error="the answer broke off")]
    assert look(source, records, ERROR, Stage.CANARY)[1] == counts(1, 1)


@pytest.mark.parametrize("stage", [Stage.CANARY, Stage.BAKE])
@pytest.mark.parametrize(
    "how", [{"first_byte_ms": None, "latency_ms": 90.0}, {"first_byte_ms": 5.0, "latency_ms": 90.0}]
)
@METRICS
def test_a_client_that_leaves_in_haste_counts_nowhere(
    source: Source, metric: MetricSpec, how: dict[str, Any], stage: Stage
) -> None:
    records = [record(CANDIDATE, status=499, format_valid=None, **how)]
    assert look(source, records, metric, stage)[1] == counts(0, 0)


def test_a_client_that_waited_in_vain_got_no_answer(source: Source) -> None:
    records = [record(CANDIDATE, status=499, first_byte_ms=None, latency_ms=10_000.0)]
    assert look(source, records, ERROR, Stage.CANARY)[1] == counts(1, 1)


def test_a_client_that_left_after_the_limit_was_answered_slowly(source: Source) -> None:
    records = [
        record(CANDIDATE, status=499, latency_ms=100.1),
        record(CANDIDATE, status=499, latency_ms=100.0),
    ]
    for stage in (Stage.CANARY, Stage.BAKE):
        assert look(source, records, SLOW, stage)[1] == counts(1, 1)


@METRICS
def test_a_copy_that_the_gateway_gave_up_is_no_pair(source: Source, metric: MetricSpec) -> None:
    given_up = pair(status=499, first_byte_ms=None, latency_ms=20_000.0, format_valid=None)
    assert look(source, given_up, metric, Stage.SHADOW) == (counts(0, 0), counts(0, 0))


def test_format_counts_good_answers_with_a_known_format_only(source: Source) -> None:
    records = [
        record(CANDIDATE, format_valid=False),
        record(CANDIDATE, format_valid=True),
        record(CANDIDATE, format_valid=None),
        record(CANDIDATE, format_valid=False, status=500),
    ]
    assert look(source, records, FORMAT, Stage.CANARY)[1] == counts(2, 1)


def test_slow_counts_good_answers_and_whatever_took_too_long(source: Source) -> None:
    records = [
        record(CANDIDATE, latency_ms=100.0),
        record(CANDIDATE, latency_ms=100.1),
        record(CANDIDATE, latency_ms=5000, status=500),
        record(CANDIDATE, latency_ms=5000, error="the answer broke off"),
        record(CANDIDATE, latency_ms=5, status=500),
        record(CANDIDATE, latency_ms=5, error="the answer broke off"),
    ]
    assert look(source, records, SLOW, Stage.CANARY)[1] == counts(4, 3)


def test_a_canary_compares_keyed_requests_because_no_others_are_dealt_at_random(source: Source) -> None:
    records = [record(STABLE), record(STABLE, keyed=False, status=500), record(CANDIDATE, keyed=False)]
    assert look(source, records, ERROR, Stage.CANARY) == (counts(1, 0), counts(1, 0))


def test_the_bake_counts_everyone(source: Source) -> None:
    records = [record(STABLE, keyed=False), record(CANDIDATE, keyed=False, status=500), record(CANDIDATE)]
    assert look(source, records, ERROR, Stage.BAKE) == (counts(1, 0), counts(2, 1))


def test_shadow_counts_complete_pairs_only(source: Source) -> None:
    lonely_copy = record(CANDIDATE, shadow=True, pair="nobody")
    dropped = record(STABLE, mirrored=True)
    records = [*pair(), *pair(status=500), dropped, lonely_copy, record(STABLE), record(CANDIDATE)]
    assert look(source, records, ERROR, Stage.SHADOW) == (counts(2, 0), counts(2, 1))


def test_a_failed_request_of_stable_is_part_of_its_pair(source: Source) -> None:
    assert look(source, pair(stable={"status": 503}), ERROR, Stage.SHADOW) == (counts(1, 1), counts(1, 0))


def test_a_pair_that_completes_after_an_edge_belongs_to_the_next_look(source: Source) -> None:
    primary, copy = pair(status=500)
    assert look(source, [primary], ERROR, Stage.SHADOW) == (counts(0, 0), counts(0, 0))
    assert look(source, [copy], ERROR, Stage.SHADOW) == (counts(1, 0), counts(1, 1))


@pytest.mark.parametrize("stage", [Stage.CANARY, Stage.BAKE])
@METRICS
@pytest.mark.parametrize("how", [{"pinned": True}, {"retry_of": "r0"}], ids=["pinned", "retried"])
def test_what_was_not_dealt_at_random_counts_in_no_comparison(
    source: Source, metric: MetricSpec, how: dict[str, Any], stage: Stage
) -> None:
    bad = {"latency_ms": 5000.0, "format_valid": False, **how}
    records = [
        record(served, **bad, status=status) for served in (STABLE, CANDIDATE) for status in (200, 500)
    ]
    assert look(source, [record(CANDIDATE), *records], metric, stage) == (counts(0, 0), counts(1, 0))


@METRICS
@pytest.mark.parametrize("how", [{"pinned": True}, {"retry_of": "r0"}], ids=["pinned", "retried"])
def test_a_pair_of_which_one_was_not_dealt_at_random_is_none(
    source: Source, metric: MetricSpec, how: dict[str, Any]
) -> None:
    records = [*pair(**how), *pair(stable=how), *pair()]
    assert look(source, records, metric, Stage.SHADOW) == (counts(1, 0), counts(1, 0))


@pytest.mark.parametrize("stage", list(Stage))
def test_who_waited_for_an_adapters_load_is_not_called_slow_but_its_errors_count(
    source: Source, stage: Stage
) -> None:
    cold = {"cold": True, "latency_ms": 5000.0}
    rows = [cold, {**cold, "status": 500}]
    records = [
        row
        for how in rows
        for row in ([record(CANDIDATE, **how)] if stage is not Stage.SHADOW else pair(**how))
    ]
    refuse_rows(source, SLOW, stage)
    since = source.metrics.edge()
    source.see(records)
    until = source.metrics.edge()

    def seen(metric: MetricSpec) -> Counts | None:
        return source.metrics.samples(metric, comparison(stage), since=since, until=until).candidate

    assert seen(SLOW) == counts(0, 0)
    assert seen(ERROR) == counts(2, 1)


def test_a_user_has_one_voice_a_minute_and_it_is_bad_if_anything_was(source: Source) -> None:
    eager = [record(CANDIDATE, key_hash="a", routed_at=60.0 + second) for second in range(59)]
    unlucky = [
        record(CANDIDATE, key_hash="b", routed_at=61.0, status=500),
        record(CANDIDATE, key_hash="b", routed_at=119.9),
        record(CANDIDATE, key_hash="b", routed_at=120.0),
    ]
    both = [record(STABLE, key_hash="a", routed_at=61.0), record(STABLE, key_hash="c", routed_at=61.0)]
    seen = look(source, [*eager, *unlucky, *both], a_minute("error"), Stage.CANARY)
    assert seen == (counts(2, 0), counts(3, 1))


def test_who_has_no_key_is_told_by_the_conversation_and_else_has_a_voice_a_request(source: Source) -> None:
    talking = [record(CANDIDATE, keyed=False, key_hash=None, conversation_hash="talk") for _ in range(5)]
    nobody = [record(CANDIDATE, keyed=False, key_hash=None, status=500) for _ in range(3)]
    assert look(source, [*talking, *nobody], a_minute("error"), Stage.BAKE)[1] == counts(4, 3)


@pytest.mark.parametrize(
    "metric", [a_minute("error"), a_minute("slow"), a_minute("format_invalid")], ids=lambda m: m.id
)
def test_rows_that_count_nowhere_give_no_voice_in_a_minute(source: Source, metric: MetricSpec) -> None:
    left = record(CANDIDATE, status=499, first_byte_ms=None, format_valid=None, key_hash="a")
    assert look(source, [left, record(CANDIDATE, key_hash="b")], metric, Stage.CANARY)[1] == counts(1, 0)


def test_pairs_of_one_user_are_one_pair_a_minute(source: Source) -> None:
    keys = {"key_hash": "a", "routed_at": 61.0}
    records = [
        *pair(stable=keys, **keys),
        *pair(stable=keys, **keys, status=500),
        *pair(stable={"key_hash": "b"}),
    ]
    seen = look(source, records, a_minute("error"), Stage.SHADOW)
    assert seen == (counts(2, 0), counts(2, 1))


def said(request: RequestRecord, thumbs: int | None, **changes: Any) -> Feedback:
    return Feedback(request_id=request.request_id, at=2000.0, thumbs=thumbs, **changes)


def test_thumbs_are_counted_by_the_adapter_that_answered(source: Source) -> None:
    one, two, three, mute = record(STABLE), record(CANDIDATE), record(CANDIDATE), record(CANDIDATE)
    since = source.metrics.edge()
    source.see([one, two, three, mute])
    source.tell([said(one, 1), said(two, -1), said(three, 1), said(mute, None, score=0.5)])
    source.tell([Feedback(request_id="f" * 32, at=1.0, thumbs=-1)])
    source.see([record(STABLE)])
    seen = source.metrics.samples(THUMBS, comparison(), since=since, until=source.metrics.edge())
    assert (seen.stable, seen.candidate) == (counts(1, 0), counts(2, 1))


def test_the_first_word_on_an_answer_counts_and_only_once(source: Source) -> None:
    answer = record(CANDIDATE)
    since = source.metrics.edge()
    source.see([answer])
    source.tell([said(answer, -1), said(answer, -1), said(answer, 1)])
    source.see([record()])
    middle = source.metrics.edge()
    source.tell([said(answer, -1)])
    source.see([record()])
    looks = [(since, middle), (middle, source.metrics.edge())]
    seen = [source.metrics.samples(THUMBS, comparison(), since=a, until=b).candidate for a, b in looks]
    assert seen == [counts(1, 1), counts(0, 0)]


def test_feedback_that_comes_after_a_look_is_part_of_the_next(source: Source) -> None:
    answer = record(CANDIDATE)
    first = source.metrics.edge()
    source.see([answer])
    second = source.metrics.edge()
    source.tell([said(answer, -1)])
    third = source.metrics.edge()
    source.see([record()])
    edges = [first, second, third, source.metrics.edge()]
    seen = [
        source.metrics.samples(THUMBS, comparison(), since=since, until=until).candidate
        for since, until in itertools.pairwise(edges)
    ]
    # In a log a word belongs to the look of the row after it, and a counter tells it at once.
    one = [counts(0, 0), counts(1, 1)] if source.rows else [counts(1, 1), counts(0, 0)]
    assert seen == [counts(0, 0), *one]


def test_a_metric_of_thumbs_has_no_place_in_the_shadow() -> None:
    with pytest.raises(ValidationError, match="nobody sees the answers of shadow copies"):
        spec("thumbs_down")


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(windows=st.lists(st.lists(st.booleans(), max_size=6), min_size=1, max_size=4))
def test_consecutive_looks_count_every_request_once(source: Source, windows: list[list[bool]]) -> None:
    start = source.metrics.edge()
    parts = []
    for window in windows:
        records = [record(CANDIDATE, status=500 if bad else 200) for bad in window]
        parts.append(look(source, records, ERROR, Stage.CANARY)[1])
    whole = source.metrics.samples(ERROR, comparison(), since=start, until=source.metrics.edge()).candidate
    assert whole == counts(sum(map(len, windows)), sum(map(sum, windows)))
    assert whole == counts(sum(part.total for part in parts), sum(part.bad for part in parts))


# Who was served


VERSION = 7


def dealt(user: str | None, served: str = STABLE, **changes: Any) -> RequestRecord:
    """A request that the flag dealt to somebody, or to nobody known."""
    values = {"keyed": user is not None, "key_hash": user, "flag_version": VERSION, **changes}
    return record(served, **values)


def exposure(source: Source, records: Sequence[RequestRecord], *, flag_version: int = VERSION) -> Exposure:
    """Who was served what over these records alone."""
    since = source.metrics.edge()
    source.see(records)
    until = source.metrics.edge()
    return source.metrics.exposure(comparison(), since=since, until=until, flag_version=flag_version)


def users(source: Source, records: Sequence[RequestRecord]) -> tuple[int, int, int]:
    """(on stable alone, on the candidate alone, on both)."""
    found = exposure(source, records)
    return found.stable_users, found.candidate_users, found.both


@pytest.fixture
def lone(tmp_path: Path, request: pytest.FixtureRequest) -> Source:
    """A source of one log, whichever way it is asked: there every user is known."""
    return _one_log(tmp_path, request.param)


def _one_log(root: Path, way: str) -> Source:
    local = _traffic_log(root)
    if way == "traffic-log":
        return local
    clients = [log_client(root / "traffic.sqlite", name=f"g{number}") for number in range(2)]
    return Source(GatewayMetrics(clients), local.see, local.tell)


ONE_LOG = pytest.mark.parametrize("lone", ["traffic-log", "gateways"], indirect=True)


def test_nobody_was_served_in_a_window_without_requests(source: Source) -> None:
    if not source.rows:
        with pytest.raises(Unsupported, match="knows no users"):
            exposure(source, [])
        return
    assert exposure(source, []) == Exposure(stable_users=0, candidate_users=0, both=0, keyed=0, unkeyed=0)


@ONE_LOG
def test_a_user_counts_once_however_often_he_asks(lone: Source) -> None:
    eager = [dealt("a", CANDIDATE) for _ in range(50)]
    found = exposure(lone, [*eager, dealt("b"), dealt("b"), dealt("c")])
    assert found == Exposure(stable_users=2, candidate_users=1, both=0, keyed=53, unkeyed=0)


@ONE_LOG
def test_who_saw_both_versions_is_counted_there_and_nowhere_else(lone: Source) -> None:
    records = [dealt("a"), dealt("a", CANDIDATE), dealt("b", CANDIDATE), dealt("c"), dealt("c")]
    assert users(lone, records) == (1, 1, 1)


@ONE_LOG
def test_requests_without_a_key_are_counted_and_are_no_user(lone: Source) -> None:
    records = [dealt(None), dealt(None), dealt(None, CANDIDATE), dealt("a")]
    found = exposure(lone, records)
    assert (found.users, found.keyed, found.unkeyed) == (1, 1, 3)


@ONE_LOG
@pytest.mark.parametrize("reason", ["HELD", "STALE_FLAG", "OLD_FLAG", "NO_CANDIDATE"])
def test_who_was_configured_for_the_candidate_and_got_stable_is_on_stable(lone: Source, reason: str) -> None:
    records = [dealt(f"user{number}", flag_reason=reason) for number in range(4)]
    assert users(lone, records) == (4, 0, 0)


@ONE_LOG
def test_decisions_of_an_older_flag_or_of_none_are_not_part_of_the_step(lone: Source) -> None:
    records = [
        dealt("older", CANDIDATE, flag_version=VERSION - 1),
        dealt("none", flag_version=None),
        dealt("now", CANDIDATE),
        dealt("newer", CANDIDATE, flag_version=VERSION + 1),
        dealt(None, flag_version=VERSION - 1),
    ]
    found = exposure(lone, records)
    assert found == Exposure(stable_users=0, candidate_users=2, both=0, keyed=2, unkeyed=0)


@ONE_LOG
@pytest.mark.parametrize(
    "how",
    [{"pinned": True}, {"retry_of": "r0"}, {"shadow": True, "pair": "r0"}, {"name": "other"}],
    ids=lambda how: next(iter(how)),
)
def test_what_was_not_dealt_to_users_of_this_name_is_nobodys_exposure(
    lone: Source, how: dict[str, Any]
) -> None:
    records = [dealt("a", CANDIDATE, **how), dealt("b", **how), dealt(None, **how), dealt("c")]
    assert exposure(lone, records) == Exposure(stable_users=1, candidate_users=0, both=0, keyed=1, unkeyed=0)


@ONE_LOG
def test_adapters_that_are_not_compared_were_served_to_nobody(lone: Source) -> None:
    assert users(lone, [dealt("a", "bot-0.9.0-z"), dealt("b", CANDIDATE)]) == (0, 1, 0)


@ONE_LOG
def test_a_request_that_failed_was_dealt_like_any_other(lone: Source) -> None:
    records = [dealt("a", CANDIDATE, status=500), dealt("b", status=499, first_byte_ms=None)]
    assert users(lone, records) == (1, 1, 0)


@ONE_LOG
def test_only_the_window_counts(lone: Source) -> None:
    lone.see([dealt("before", CANDIDATE)])
    since = lone.metrics.edge()
    lone.see([dealt("a", CANDIDATE)])
    until = lone.metrics.edge()
    lone.see([dealt("a"), dealt("after")])
    ask = {"since": since, "until": until, "flag_version": VERSION}
    found = lone.metrics.exposure(comparison(), **ask)  # type: ignore[arg-type]
    assert (found.stable_users, found.candidate_users, found.both) == (0, 1, 0)


@ONE_LOG
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    asked=st.lists(
        st.tuples(st.sampled_from("abcd"), st.sampled_from([STABLE, CANDIDATE]), st.booleans()), max_size=30
    )
)
def test_users_are_counted_as_sets_are(lone: Source, asked: list[tuple[str, str, bool]]) -> None:
    records = [dealt(user if keyed else None, served) for user, served, keyed in asked]
    got: dict[str, set[str]] = {STABLE: set(), CANDIDATE: set()}
    for user, served, keyed in asked:
        if keyed:
            got[served].add(user)
    on_stable, on_candidate = got[STABLE], got[CANDIDATE]
    known = sum(keyed for *_, keyed in asked)
    assert exposure(lone, records) == Exposure(
        stable_users=len(on_stable - on_candidate),
        candidate_users=len(on_candidate - on_stable),
        both=len(on_stable & on_candidate),
        keyed=known,
        unkeyed=len(asked) - known,
        unkeyed_on_candidate=sum(served == CANDIDATE for _, served, keyed in asked if not keyed),
    )
