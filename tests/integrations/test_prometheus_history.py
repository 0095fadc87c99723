"""Counters of others through an hour that a real Prometheus remembers: replicas that come, go and begin anew."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from rollout.core.environment import PrometheusProvider
from rollout.core.metric import Comparison, Samples, Stage
from rollout.errors import MetricsUnavailable
from rollout.integrations.prometheus import PrometheusMetrics
from tests.contracts.test_metric_source import counts
from tests.integrations.test_prometheus_named import A, B, asked
from tests.support.prometheus import NEEDS_PROMETHEUS, RealPrometheus, prometheus

pytestmark = NEEDS_PROMETHEUS

EPOCH, EVERY, SINCE, UNTIL = 1_700_000_000, 15, 600, 1200
COMPARED = Comparison(name="bot", stable=A, candidate=B, stage=Stage.CANARY)
ALWAYS = range(0, UNTIL + 1, EVERY)

Points = Mapping[int, float]
"""Values by seconds since EPOCH."""


@dataclass
class History:
    """Samples of a time that is past, by series. Seconds count from EPOCH."""

    lines: list[str] = field(default_factory=list)

    def put(self, name: str, points: Points, **labels: str) -> History:
        shown = ",".join(f'{label}="{value}"' for label, value in labels.items())
        self.lines += [f"{name}{{{shown}}} {value} {EPOCH + at}" for at, value in points.items()]
        return self

    def orders(self, total: Points, bad: Points, *, version: str = B, **labels: str) -> History:
        self.put("orders_total", total, version=version, **labels)
        return self.put("lost_total", bad, version=version, **labels)

    def up(self, scraped: Sequence[int] = ALWAYS, down: Sequence[int] = (), **labels: str) -> History:
        points = dict.fromkeys(scraped, 1) | dict.fromkeys(down, 0)
        return self.put("up", dict(sorted(points.items())), **labels)


def rising(times: Sequence[int], *values: float) -> Points:
    """The last of these from its time on; they rise at even distances."""
    return {
        at: values[min(place * len(values) // len(times), len(values) - 1)] for place, at in enumerate(times)
    }


def between(first: int, last: int) -> Sequence[int]:
    """The scrapes in [first, last]."""
    return [at for at in ALWAYS if first <= at <= last]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealPrometheus]:
    root = tmp_path_factory.mktemp("history")
    with prometheus(root, {}, "--storage.tsdb.retention.time=90y") as server:
        yield server


def provider(server: RealPrometheus) -> PrometheusProvider:
    return PrometheusProvider.model_validate({"kind": "prometheus", "url": server.url, "lag": "0s"})


def edges(since: int, until: int) -> dict[str, str]:
    """The window from second to second."""
    return {"since": f"prometheus@{EPOCH + since:.3f}", "until": f"prometheus@{EPOCH + until:.3f}"}


def see(
    server: RealPrometheus, history: History, *, since: int = SINCE, until: int = UNTIL, **query: str
) -> Samples:
    """What a look at the candidate alone sees of it; stable has its own counters, as they are."""
    server.remember("\n".join(history.lines))
    metrics = PrometheusMetrics("shop", provider(server))
    named = {"total": 'orders_total{version="{served}"}', "bad": 'lost_total{version="{served}"}', **query}
    return metrics.samples(asked(**named), COMPARED, **edges(since, until))


HERE = {"job": "shop", "instance": "a:1"}
THERE = {"job": "shop", "instance": "b:1"}
STEADY = rising(ALWAYS, 100, 150, 200, 250)


def test_what_is_bad_is_counted_though_its_series_is_gone_before_the_look_ends(
    server: RealPrometheus,
) -> None:
    bad = rising(between(0, 900), 3, 3, 3, 3, 8)
    assert see(server, History().up(**HERE).orders(STEADY, bad, **HERE)).candidate == counts(100, 5)


def test_what_is_bad_may_appear_with_the_first_that_happens(server: RealPrometheus) -> None:
    history = History().up(**HERE).orders(STEADY, {1155: 4, 1170: 4}, **HERE)
    assert see(server, history).candidate == counts(100, 4)


def test_the_series_of_all_tells_that_its_target_was_seen_where_nothing_else_does(
    server: RealPrometheus,
) -> None:
    history = History().orders(STEADY, {1155: 4, 1170: 4}).up(**THERE)
    assert see(server, history).candidate == counts(100, 4)


def test_an_arm_is_there_by_its_total_and_not_by_what_is_bad(server: RealPrometheus) -> None:
    gone = rising(between(0, 900), 100, 200)
    assert see(server, History().up(**HERE).orders(gone, rising(ALWAYS, 3, 5), **HERE)).candidate is None


def test_a_counter_that_vanished_and_came_back_as_high_began_anew(server: RealPrometheus) -> None:
    vanished = dict.fromkeys((*between(0, 800), *between(830, UNTIL)), 10.0)
    history = History().up(**HERE).orders(STEADY, vanished, **HERE)
    assert see(server, history).candidate == counts(100, 10)


def test_a_target_that_was_down_for_long_and_came_back_as_high_began_anew(server: RealPrometheus) -> None:
    seen, down = [*between(0, 650), *between(1000, UNTIL)], between(651, 999)
    same = dict.fromkeys(seen, 10.0)
    history = (
        History().up(seen, down, **HERE).orders({at: 2 * value for at, value in same.items()}, same, **HERE)
    )
    assert see(server, history).candidate == counts(20, 10)


@pytest.mark.parametrize("missed", [(651, 700), (651, 999)], ids=["short", "long"])
def test_counters_that_nobody_looked_at_for_a_while_are_the_same(
    server: RealPrometheus, missed: tuple[int, int]
) -> None:
    seen = [*between(0, missed[0]), *between(missed[1], UNTIL)]
    history = History().up(seen, **HERE).orders(rising(seen, 20, 30), dict.fromkeys(seen, 10.0), **HERE)
    found = see(server, history).candidate
    assert found is not None
    assert found.bad == 0
    assert found.total <= 10


def test_the_start_of_a_process_tells_what_its_counters_cannot(server: RealPrometheus) -> None:
    seen, down = [*between(0, 650), *between(1000, UNTIL)], between(651, 999)
    total, bad = dict.fromkeys(seen, 20.0), dict.fromkeys(seen, 10.0)
    same = History().up(seen, down, **HERE).orders(total, bad, **HERE)
    same.put("process_start_time_seconds", dict.fromkeys(seen, EPOCH - 5000), **HERE)
    assert see(server, same).candidate == counts(0, 0)
    higher = {at: 12.0 if at > 999 else 10.0 for at in seen}
    anew = (
        History()
        .up(seen, down, **HERE)
        .orders({**total, **{at: 30.0 for at in seen if at > 999}}, higher, **HERE)
    )
    starts = {at: EPOCH + 990 if at > 999 else EPOCH - 5000 for at in seen}
    anew.put("process_start_time_seconds", starts, **HERE)
    assert see(server, anew).candidate == counts(30, 12)


@pytest.mark.parametrize(
    ("started", "total"), [(EPOCH + 890, 40), (EPOCH + 590, 40), (EPOCH - 90_000, 10), (None, 40)]
)
def test_a_replica_that_comes_counts_from_its_first_request_unless_it_is_older_than_the_look(
    server: RealPrometheus, started: int | None, total: int
) -> None:
    came = between(900, UNTIL)
    history = History().up(**HERE).up(came, **THERE).orders(STEADY, rising(ALWAYS, 1), version=A, **HERE)
    history.orders(rising(came, 30, 40), rising(came, 3, 4), **THERE)
    if started is not None:
        history.put("process_start_time_seconds", dict.fromkeys(came, started), **THERE)
    assert see(server, history).candidate == counts(total, total // 10)


def test_a_job_that_nobody_scraped_before_may_be_as_old_as_it_likes(server: RealPrometheus) -> None:
    came, other = between(900, UNTIL), {"job": "other", "instance": "b:1"}
    history = History().up(**HERE).up(came, **other).orders(rising(came, 30, 40), rising(came, 3, 4), **other)
    assert see(server, history).candidate == counts(10, 1)
    # Unless the counters themselves tell when they began.
    for name in ("orders_created", "lost_created"):
        history.put(name, dict.fromkeys(came, EPOCH + 880), version=B, **other)
    assert see(server, history).candidate == counts(40, 4)


def test_a_replica_that_nobody_could_reach_before_may_be_old(server: RealPrometheus) -> None:
    came = between(900, UNTIL)
    history = History().up(**HERE).up(came, between(300, 899), **THERE)
    history.orders(rising(came, 30, 40), rising(came, 3, 4), **THERE)
    assert see(server, history).candidate == counts(10, 1)


def test_a_replica_that_went_in_order_keeps_what_it_had_counted(server: RealPrometheus) -> None:
    stayed = between(0, 900)
    history = History().up(**HERE).up(stayed, **THERE).orders(STEADY, rising(ALWAYS, 1), **HERE)
    history.orders(rising(stayed, 30, 30, 30, 30, 40), rising(stayed, 3, 3, 3, 3, 4), **THERE)
    assert see(server, history).candidate == counts(100 + 10, 1)


@pytest.mark.parametrize(
    ("what", "query", "named"),
    [
        ("bad", 'losst_total{version="{served}"}', '{__name__="losst_total",version!=""}'),
        ("bad", 'lost_total{versoin="{served}"}', '{__name__="lost_total",versoin!=""}'),
        ("total", 'order_total{version="{served}"}', '{__name__="order_total",version!=""}'),
    ],
)
def test_series_that_nobody_ever_had_are_named_and_no_zero(
    server: RealPrometheus, what: str, query: str, named: str
) -> None:
    history = History().up(**HERE).orders(STEADY, rising(ALWAYS, 1), **HERE)
    history.orders(STEADY, rising(ALWAYS, 1), version=A, **HERE)
    with pytest.raises(MetricsUnavailable) as refused:
        see(server, history, **{what: query})
    assert refused.value.message == (
        f"metric error: `{what}` names series that Prometheus has not had in 31 days: {named}"
    )
    assert "misspelt" in refused.value.advice


def test_what_is_bad_and_has_long_not_happened_is_zero(server: RealPrometheus) -> None:
    history = History().put("lost_total", {-20 * 86_400: 1}, version="older", **HERE)
    history.up(**HERE).orders(STEADY, {}, **HERE)
    assert see(server, history).candidate == counts(100, 0)


def test_a_replica_that_nobody_saw_for_long_is_no_new_one(server: RealPrometheus) -> None:
    back = between(900, UNTIL)
    history = History().up(**HERE).orders(STEADY, rising(ALWAYS, 1), version=A, **HERE)
    history.up([-7200, -3600, *back], **THERE).orders(rising(back, 30, 40), rising(back, 3, 4), **THERE)
    assert see(server, history).candidate == counts(10, 1)


def test_processes_of_one_target_that_began_at_different_times_tell_nothing(server: RealPrometheus) -> None:
    came = between(900, UNTIL)
    history = History().up(**HERE).up(came, **THERE).orders(STEADY, rising(ALWAYS, 1), version=A, **HERE)
    history.orders(rising(came, 30, 40), rising(came, 3, 4), **THERE)
    for pid, started in (("1", EPOCH - 9000), ("2", EPOCH + 880)):
        history.put("process_start_time_seconds", dict.fromkeys(came, started), pid=pid, **THERE)
    assert see(server, history).candidate == counts(40, 4)


def test_edges_that_are_written_otherwise_from_some_scrape_on_are_the_same_edges(
    server: RealPrometheus,
) -> None:
    history = History().up(**HERE)
    for version, (first, last) in itertools.product((A, B), ((0, 800), (801, UNTIL))):
        for edge, other, per in (("1", "1.0", 1), ("+Inf", "+Inf", 2)):
            le = edge if first == 0 else other
            points = {at: per * (100 + at // EVERY) for at in between(first, last)}
            history.put("wait_seconds_bucket", points, version=version, le=le, **HERE)
    server.remember("\n".join(history.lines))
    metrics = PrometheusMetrics("shop", provider(server))
    seen = metrics.samples(
        asked("latency", values='wait_seconds_bucket{version="{served}"}'), COMPARED, **edges(SINCE, UNTIL)
    )
    assert seen.candidate == counts(80, 0)


def test_what_is_stored_later_than_a_look_waits_for_is_waited_for(server: RealPrometheus) -> None:
    late = between(0, UNTIL - 45)
    history = History().up(late, **HERE).orders(rising(late, 100, 100, 200), rising(late, 1), **HERE)
    with pytest.raises(
        MetricsUnavailable, match=r"newest scrape .* is 45 s before the end of the look"
    ) as refused:
        see(server, history)
    assert "`lag`" in refused.value.advice
    assert see(server, history, until=UNTIL - 30).candidate == counts(100, 0)


def test_an_arm_whose_targets_are_gone_is_missing_though_others_are_scraped(server: RealPrometheus) -> None:
    gone = between(0, 900)
    history = History().up(**HERE).up(gone, **THERE).orders(STEADY, rising(ALWAYS, 1), version=A, **HERE)
    history.orders(rising(gone, 30, 40), rising(gone, 3, 4), **THERE)
    seen = see(server, history)
    assert (seen.stable, seen.candidate) == (counts(100, 0), None)
