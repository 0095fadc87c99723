"""A Prometheus or a gateway that goes away, begins anew or forgets: held with its reason, and never a silent zero."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from rollout.errors import MetricsUnavailable
from rollout.integrations.prometheus import PrometheusMetrics
from tests.contracts.test_metric_source import counts, spec
from tests.integrations.test_prometheus_gateways import ERRORS, compared, metrics_of, settle
from tests.support.gateway import NAME, STABLE, World, process, running
from tests.support.prometheus import NEEDS_PROMETHEUS, RealPrometheus, prometheus
from tests.support.upstream import Behaviour, FakeUpstream, serving

pytestmark = NEEDS_PROMETHEUS

UP_SINCE = 'count(rollout_gateway_started_seconds{job="gateways"})'


class Watched(NamedTuple):
    """A gateway and the Prometheus that scrapes it, which saw ten requests before `since`."""

    world: World
    server: RealPrometheus
    metrics: PrometheusMetrics
    since: str

    def ask(self, number: int) -> None:
        """So many requests of one user, which go to stable."""
        for _ in range(number):
            assert self.world.ask("user").status_code == 200

    def settle(self) -> None:
        """Wait until all that was ever asked was scraped."""
        settle(self.world, self.server, len(self.world.upstream.seen))

    def total(self, until: str) -> int:
        """What stable counted since the beginning."""
        seen = self.metrics.samples(spec("error"), compared(), since=self.since, until=until)
        assert seen.stable is not None
        return seen.stable.total


@pytest.fixture(scope="module")
def around(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, RealPrometheus]]:
    root = tmp_path_factory.mktemp("around")
    with running(root) as world, prometheus(root / "prometheus", {"gateways": [world.url]}) as server:
        world.dial("0%")
        yield world, server


@pytest.fixture
def watched(around: tuple[World, RealPrometheus]) -> Watched:
    world, server = around
    server.scrape({"gateways": [world.url]})
    watched = Watched(world, server, metrics_of(server), "")
    watched.ask(10)
    watched.settle()
    return watched._replace(since=watched.metrics.edge())


def test_a_prometheus_that_is_away_is_an_error_and_what_it_kept_counts_when_it_is_back(
    watched: Watched,
) -> None:
    watched.ask(5)
    watched.settle()
    until = watched.metrics.edge()
    watched.server.stop()
    with pytest.raises(MetricsUnavailable, match="the Prometheus 'metrics' did not answer: ConnectError"):
        watched.total(until)
    with pytest.raises(MetricsUnavailable, match="did not answer"):
        watched.metrics.edge()
    watched.ask(3)  # counted by the gateway while nobody looks
    watched.server.start()
    watched.settle()
    assert watched.total(until) == 5
    assert watched.total(watched.metrics.edge()) == 8


def test_a_prometheus_that_lost_its_data_is_an_error_and_no_zero(watched: Watched) -> None:
    watched.ask(5)
    watched.settle()
    watched.server.lose_everything()
    watched.settle()
    until = watched.metrics.edge()
    with pytest.raises(MetricsUnavailable, match="its data were lost, or it was not scraped") as refused:
        watched.total(until)
    # The ledger keeps the message alone, and whoever reads it is to know the way out.
    assert "`rollout resume NAME -e ENV --reason TEXT` begins the step anew" in refused.value.message
    # A look that begins with what is there now is whole.
    watched.ask(2)
    watched.settle()
    assert watched._replace(since=until).total(watched.metrics.edge()) == 2


def test_a_prometheus_that_is_empty_is_no_beginning(watched: Watched) -> None:
    watched.server.scrape({})
    watched.server.lose_everything()
    with pytest.raises(MetricsUnavailable, match="has not seen a gateway yet"):
        watched.metrics.edge()
    with pytest.raises(MetricsUnavailable, match="no series of a gateway"):
        watched.total(f"prometheus@{float(watched.since.partition('@')[2]) + 3600:.3f}")


def test_data_that_ended_before_the_look_does_are_an_error_and_no_zero(watched: Watched) -> None:
    later = f"prometheus@{float(watched.since.partition('@')[2]) + 250:.3f}"
    with pytest.raises(MetricsUnavailable, match=r"has scraped no gateway for 2[0-9]{2} s before the end"):
        watched.total(later)


def test_edges_of_another_source_are_none_here(watched: Watched) -> None:
    with pytest.raises(MetricsUnavailable, match="'0123456789ab:17' is not an edge of a Prometheus"):
        watched.metrics.samples(spec("error"), compared(), since="0123456789ab:17", until=watched.since)


def test_a_clock_that_went_back_is_an_error(watched: Watched) -> None:
    before = f"prometheus@{float(watched.since.partition('@')[2]) - 5:.3f}"
    with pytest.raises(MetricsUnavailable, match="clock went back"):
        watched.total(before)


def test_a_gateway_that_cannot_be_scraped_may_be_counting_unseen(tmp_path: Path) -> None:
    with running(tmp_path) as world, prometheus(tmp_path / "prometheus", {}) as server:
        dead = free_port()
        server.scrape({"gateways": [world.url, f"http://127.0.0.1:{dead}"]})
        server.wait_for(UP_SINCE, 1)
        metrics = metrics_of(server)
        since = metrics.edge()
        world.ask("user")
        settle(world, server, 1)
        # It was never seen, so that nobody knows that it is a gateway; what is seen counts.
        found = metrics.samples(spec("error"), compared(), since=since, until=metrics.edge())
        assert found.stable == counts(1, 0)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Gateways:
    """A gateway process that may end and begin anew at the same address."""

    def __init__(self, root: Path, upstream: str) -> None:
        self._root, self._upstream = root, upstream
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    @contextmanager
    def run(self) -> Iterator[None]:
        with process(self._root, self._upstream, arguments=("--port", str(self.port))):
            yield

    def ask(self, number: int) -> None:
        body = {"model": NAME, "messages": [{"role": "user", "content": "hi"}]}
        with httpx.Client(timeout=60) as client:
            for _ in range(number):
                url, headers = f"{self.url}/v1/chat/completions", {"x-user-id": "user"}
                assert client.post(url, json=body, headers=headers).status_code == 200


@pytest.fixture
def gateways(tmp_path: Path) -> Iterator[Gateways]:
    with serving(FakeUpstream({STABLE: Behaviour()})) as upstream:
        yield Gateways(tmp_path, upstream)


def test_a_gateway_that_begins_anew_loses_nothing_that_was_scraped_and_counts_nothing_twice(
    tmp_path: Path, gateways: Gateways
) -> None:
    with prometheus(tmp_path / "prometheus", {"gateways": [gateways.url]}) as server:
        metrics = metrics_of(server)
        with gateways.run():
            gateways.ask(4)
            server.wait_for(ERRORS, 4)
            since = metrics.edge()
            gateways.ask(3)
            server.wait_for(ERRORS, 7)
        server.wait_for_scrape(up=0)
        with pytest.raises(MetricsUnavailable, match="`up` is 0"):
            metrics.samples(spec("error"), compared(), since=since, until=metrics.edge())
        with gateways.run():
            # More than before, so that the counter alone would not tell that it began anew.
            gateways.ask(11)
            server.wait_for(ERRORS, 11)
            middle = metrics.edge()
            seen = metrics.samples(spec("error"), compared(), since=since, until=middle)
            assert seen.stable == counts(3 + 11, 0)
            gateways.ask(2)
            server.wait_for(ERRORS, 13)
            seen = metrics.samples(spec("error"), compared(), since=middle, until=metrics.edge())
            assert seen.stable == counts(2, 0)


def test_a_gateway_that_comes_within_the_look_counts_from_its_first_request(
    tmp_path: Path, gateways: Gateways
) -> None:
    with (
        running(tmp_path / "other") as world,
        prometheus(tmp_path / "prometheus", {"gateways": [world.url]}) as server,
    ):
        server.wait_for(UP_SINCE, 1)
        metrics = metrics_of(server)
        since = metrics.edge()
        with gateways.run():
            gateways.ask(6)
            server.scrape({"gateways": [world.url, gateways.url]})
            server.wait_for(ERRORS, 6)
            seen = metrics.samples(spec("error"), compared(), since=since, until=metrics.edge())
            assert seen.stable == counts(6, 0)
        # It was taken out in order: what it had counted stands, and nobody waits for it.
        server.scrape({"gateways": [world.url]})
        server.wait_for("count(up)", 1)
        world.ask("user")
        settle(world, server, 1)
        seen = metrics.samples(spec("error"), compared(), since=since, until=metrics.edge())
        assert seen.stable == counts(7, 0)


def test_one_gateway_of_two_that_cannot_be_reached_is_an_error(tmp_path: Path, gateways: Gateways) -> None:
    with (
        running(tmp_path / "other") as world,
        prometheus(tmp_path / "prometheus", {"gateways": [world.url, gateways.url]}) as server,
    ):
        metrics = metrics_of(server)
        with gateways.run():
            server.wait_for(UP_SINCE, 2)
            since = metrics.edge()
        server.wait_for("min(up)", 0)
        with pytest.raises(MetricsUnavailable, match=f"cannot scrape 127.0.0.1:{gateways.port}"):
            metrics.samples(spec("error"), compared(), since=since, until=metrics.edge())
