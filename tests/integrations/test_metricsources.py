"""Several sources as one: whose metric it is, which edge belongs to whom, and who is down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from rollout.core.environment import HttpProvider
from rollout.core.exposure import Exposure
from rollout.core.lifecycle import Looked
from rollout.core.metric import Comparison, Counts, MetricSpec, Samples, Stage
from rollout.errors import MetricsUnavailable, RolloutError, Usage
from rollout.integrations.metricsources import MetricSources
from rollout.integrations.providers import provider_metrics
from rollout.integrations.trafficlog import TrafficLog, TrafficLogRecorder
from rollout.wiring.metrics import metric_sources
from tests.contracts.test_metric_provider import metric
from tests.contracts.test_metric_source import record, spec
from tests.support.gateway import environment

COMPARISON = Comparison(name="bot", stable="bot-1.0.0-a", candidate="bot-1.1.0-b", stage=Stage.CANARY)
ERRORS = spec("error")
ORDERS = metric("rate", {"provider": "shop", "total": "/total", "bad": "/bad"})


class Counter:
    """A source by the book: it answers with what it was asked for, or is down."""

    def __init__(self, edge: str = "100", down: RolloutError | None = None) -> None:
        self.now = edge
        self.down = down
        self.windows: list[tuple[str, str]] = []

    def edge(self) -> str:
        if self.down is not None:
            raise self.down
        return self.now

    def samples(self, spec: MetricSpec, comparison: Comparison, *, since: str, until: str) -> Samples:
        if self.down is not None:
            raise self.down
        self.windows.append((since, until))
        one = Counts(total=1, bad=0)
        return Samples(metric=spec.id, since=since, until=until, stable=one, candidate=one)

    def exposure(self, comparison: Comparison, *, since: str, until: str, flag_version: int) -> Exposure:
        raise AssertionError("nobody asks a provider who was served what")


@pytest.fixture
def log(tmp_path: Path) -> TrafficLog:
    path = tmp_path / "traffic.sqlite"
    recorder = TrafficLogRecorder(path)
    recorder.record(record())
    recorder.close()
    return TrafficLog(path)


def see(tmp_path: Path, **changes: Any) -> None:
    recorder = TrafficLogRecorder(tmp_path / "traffic.sqlite")
    recorder.record(record(**changes))
    recorder.close()


def test_an_edge_holds_the_edges_of_all_and_each_is_asked_for_its_own_window(
    log: TrafficLog, tmp_path: Path
) -> None:
    shop, judge = Counter(), Counter("prometheus@7.125")
    sources = MetricSources(log, {"shop": shop, "judge": judge})
    since = sources.edge()
    assert since == f"{log.edge()}|judge=prometheus@7.125|shop=100"
    see(tmp_path)
    shop.now = "160"
    until = sources.edge()
    errors = sources.samples(ERRORS, COMPARISON, since=since, until=until)
    orders = sources.samples(ORDERS, COMPARISON, since=since, until=until)
    assert errors.stable == Counts(total=1, bad=0)
    assert shop.windows == [("100", "160")]
    assert (orders.since, orders.until) == (errors.since, errors.until) == (since, until)
    assert judge.windows == []


def test_who_was_served_what_is_a_matter_of_the_gateways_alone(log: TrafficLog, tmp_path: Path) -> None:
    sources = MetricSources(log, {"shop": Counter()}, counted_by="shop")
    since = sources.edge()
    see(tmp_path)
    seen = sources.exposure(COMPARISON, since=since, until=sources.edge(), flag_version=1)
    assert seen.keyed == 1


def test_a_release_under_way_goes_on_when_providers_are_added(log: TrafficLog, tmp_path: Path) -> None:
    """Its edge is of the log alone: the log goes on from there, and the provider begins with the next look."""
    before = log.edge()
    see(tmp_path)
    shop = Counter("100")
    sources = MetricSources(log, {"shop": shop})
    now = sources.edge()
    assert sources.samples(ERRORS, COMPARISON, since=before, until=now).stable == Counts(total=1, bad=0)
    first = sources.samples(ORDERS, COMPARISON, since=before, until=now)
    assert (first.stable, first.candidate) == (None, None), "missing, and not zero"
    assert shop.windows == []
    shop.now = "160"
    sources.samples(ORDERS, COMPARISON, since=now, until=sources.edge())
    assert shop.windows == [("100", "160")]


def test_a_part_of_an_edge_whose_provider_is_gone_is_ignored_and_its_metric_names_it(
    log: TrafficLog, tmp_path: Path
) -> None:
    since = MetricSources(log, {"shop": Counter(), "judge": Counter()}).edge()
    sources = MetricSources(log, {"judge": Counter()})
    sources.samples(ERRORS, COMPARISON, since=since, until=sources.edge())
    with pytest.raises(MetricsUnavailable, match="orders: this environment has no provider 'shop'") as error:
        sources.samples(ORDERS, COMPARISON, since=since, until=sources.edge())
    assert "Put it back" in error.value.advice


def test_an_edge_is_read_though_the_last_provider_is_gone(log: TrafficLog, tmp_path: Path) -> None:
    """As an environment is wired that has none any more, while a release has edges from when it had."""
    since = MetricSources(log, {"shop": Counter()}).edge()
    assert since.endswith("|shop=100")
    see(tmp_path)
    sources = metric_sources(environment("http://127.0.0.1:9"), tmp_path)
    until = sources.edge()
    assert until == log.edge(), "nothing is said of who is gone"
    seen = sources.samples(ERRORS, COMPARISON, since=since, until=until)
    assert (seen.stable, seen.since, seen.until) == (Counts(total=1, bad=0), since, until)
    assert sources.exposure(COMPARISON, since=since, until=until, flag_version=1).keyed == 1
    with pytest.raises(MetricsUnavailable, match="orders: this environment has no provider 'shop'"):
        sources.samples(ORDERS, COMPARISON, since=since, until=until)


@pytest.mark.parametrize("down", [MetricsUnavailable("it sleeps"), Usage("it does not take our token")])
def test_a_provider_that_is_down_hides_nobody_and_says_why_itself(
    log: TrafficLog, tmp_path: Path, down: RolloutError
) -> None:
    shop = Counter()
    sources = MetricSources(log, {"shop": shop})
    since = sources.edge()
    see(tmp_path)
    shop.down = down
    until = sources.edge()
    assert until == log.edge()
    assert sources.samples(ERRORS, COMPARISON, since=since, until=until).stable == Counts(total=1, bad=0)
    with pytest.raises(MetricsUnavailable, match=f"orders: {down.message}"):
        sources.samples(ORDERS, COMPARISON, since=since, until=until)


def test_a_provider_that_fails_between_its_edge_and_its_answer_is_unavailable_by_name(
    log: TrafficLog,
) -> None:
    shop = Counter()
    sources = MetricSources(log, {"shop": shop})
    since, until = sources.edge(), sources.edge()
    shop.down = Usage("it does not take our token")
    with pytest.raises(MetricsUnavailable, match="orders: it does not take our token"):
        sources.samples(ORDERS, COMPARISON, since=since, until=until)


def test_without_the_gateways_counts_there_is_no_edge(tmp_path: Path) -> None:
    sources = MetricSources(TrafficLog(tmp_path / "nothing.sqlite"), {"shop": Counter()})
    with pytest.raises(MetricsUnavailable, match="there is no traffic log"):
        sources.edge()


@pytest.mark.parametrize(
    "edge",
    [
        "",
        "|shop=1",
        "a:1|",
        "a:1|shop",
        "a:1|shop=",
        "a:1|shop=1|shop=2",
        "a:1|Shop=1",
        "a:1|shop=1 ",
        "a:1||shop=1",
    ],
)
def test_an_edge_is_read_by_the_letter(log: TrafficLog, edge: str) -> None:
    sources = MetricSources(log, {"shop": Counter()})
    with pytest.raises(MetricsUnavailable, match="is no edge of this environment's metrics"):
        sources.samples(ORDERS, COMPARISON, since=edge, until=sources.edge())


def test_an_edge_that_could_be_taken_for_two_is_never_handed_out(log: TrafficLog) -> None:
    with pytest.raises(ValueError, match="cannot stand beside others"):
        MetricSources(log, {"shop": Counter("1|judge=2")}).edge()


def test_requests_are_counted_by_who_can_and_else_by_the_log(log: TrafficLog, tmp_path: Path) -> None:
    series = Counter()
    sources = MetricSources(
        log,
        {"series": series},
        counted_by="series",
        counts=lambda _, comparison: comparison.stage != "shadow",
    )
    since = sources.edge()
    shadow = Comparison(name="bot", stable="a", candidate="b", stage=Stage.SHADOW)
    assert sources.asked(ERRORS, COMPARISON)[0] == "series"
    assert sources.asked(ERRORS, shadow) == ("", log)
    until = sources.edge()
    assert sources.samples(ERRORS, COMPARISON, since=since, until=until).stable == Counts(total=1, bad=0)
    assert sources.samples(ERRORS, shadow, since=since, until=until).stable == Counts(total=0, bad=0)
    assert series.windows == [("100", "100")]


def test_an_error_of_a_real_provider_names_the_metric_once(log: TrafficLog, tmp_path: Path) -> None:
    document = HttpProvider(kind="http", url="http://127.0.0.1:9")
    sources = MetricSources(log, {"shop": provider_metrics("shop", document, tmp_path)})
    query = {"provider": "shop", "ask": "/{served}/{since}/{until}", "total": "/total", "bad": "/bad"}
    until = sources.edge()
    since = f"{log.edge()}|shop=5"
    with pytest.raises(MetricsUnavailable) as error:
        sources.samples(metric("rate", query), COMPARISON, since=since, until=until)
    assert error.value.message == "provider 'shop', asked for orders: it did not answer: ConnectError"
    assert "rollout metrics check orders" in error.value.advice


def test_an_edge_of_many_sources_fits_into_the_ledger(log: TrafficLog) -> None:
    names = [f"a-provider-with-a-long-name-{number:02}" for number in range(32)]
    edge = MetricSources(log, {name: Counter("prometheus@1767225600.125") for name in names}).edge()
    kept: str = TypeAdapter(Looked.model_fields["edge"].rebuild_annotation()).validate_python(edge)
    assert kept == edge
    assert len(edge) > 1000
