"""Series of whoever exposes them, as a metric's `source` names them, in a real Prometheus."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from rollout.core.environment import PrometheusProvider
from rollout.core.metric import Comparison, Counts, MetricSpec, Samples, Stage
from rollout.errors import MetricsUnavailable, Unreadable, Unsupported
from rollout.integrations.metricsources import MetricSources
from rollout.integrations.prometheus import PrometheusMetrics
from rollout.usecases.metricscheck import check_metrics
from tests.contracts.test_metric_source import counts, spec
from tests.support.prometheus import NEEDS_PROMETHEUS, RealPrometheus, prometheus
from tests.support.upstream import serving

pytestmark = NEEDS_PROMETHEUS

A, B = "bot-1.0.0-a", "bot-1.1.0-b"


class Exporter:
    """A page of series that a test writes; it numbers its writings, so that one can wait until the last was scraped."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.edition = 0

    def show(self, *lines: str) -> None:
        self.lines = list(lines)
        self.edition += 1

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        body = "\n".join([*self.lines, f"edition {self.edition}", ""]).encode()
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}
        )
        await send({"type": "http.response.body", "body": body})
        await asyncio.sleep(0)


class Shop:
    """An exporter that is scraped, and what is seen of it."""

    def __init__(self, exporter: Exporter, server: RealPrometheus) -> None:
        self.exporter, self.server = exporter, server
        document = {"kind": "prometheus", "url": server.url, "lag": "0s"}
        self.metrics = PrometheusMetrics("shop", PrometheusProvider.model_validate(document))

    def show(self, *lines: str) -> str:
        """Have these lines scraped; the edge behind that."""
        self.exporter.show(*lines)
        self.server.wait_for("edition", self.exporter.edition)
        return self.metrics.edge()

    def see(
        self, spec: MetricSpec, since: str, until: str, *, stable: str = A, candidate: str = B
    ) -> Samples:
        compared = Comparison(name="bot", stable=stable, candidate=candidate, stage=Stage.CANARY)
        return self.metrics.samples(spec, compared, since=since, until=until)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Exporter, RealPrometheus]]:
    exporter = Exporter()
    root = tmp_path_factory.mktemp("shop")
    with serving(exporter) as url, prometheus(root, {"shop": [url]}) as server:
        yield exporter, server


@pytest.fixture
def shop(running: tuple[Exporter, RealPrometheus]) -> Shop:
    found = Shop(*running)
    found.show()
    return found


def asked(kind: str = "rate", **query: str) -> MetricSpec:
    """A metric that asks for these expressions."""
    values = spec("error").model_dump(mode="json", by_alias=True)
    values |= {"event": None, "kind": kind, "source": {"provider": "shop", **query}}
    if kind == "latency":
        values |= {"max_abs": None, "max_ratio": 1.5}
    if kind == "score":
        values |= {"direction": "higher_is_better"}
    return MetricSpec.model_validate_json(json.dumps(values))


ORDERS = asked(total='orders_total{version="{served}"}', bad='lost_total{version="{served}"}')


def orders(a: float | str, b: float | str, *, lost: dict[str, float | str] | None = None) -> list[str]:
    lines = [f'orders_total{{version="{A}"}} {a}', f'orders_total{{version="{B}"}} {b}']
    return lines + [f'lost_total{{version="{version}"}} {value}' for version, value in (lost or {}).items()]


def arms(seen: Samples) -> tuple[Counts | None, Counts | None]:
    return seen.stable, seen.candidate


def test_counters_are_counted_between_the_edges_and_nothing_is_extrapolated(shop: Shop) -> None:
    first = shop.show(*orders(100, 7, lost={A: 3, B: 1}))
    second = shop.show(*orders(117, 10, lost={A: 5, B: 1}))
    third = shop.show(*orders(118, 30, lost={A: 5, B: 9}))
    assert arms(shop.see(ORDERS, first, second)) == (counts(17, 2), counts(3, 0))
    assert arms(shop.see(ORDERS, second, third)) == (counts(1, 0), counts(20, 8))
    assert arms(shop.see(ORDERS, first, third)) == (counts(18, 2), counts(23, 8))


def test_a_counter_that_falls_began_anew(shop: Shop) -> None:
    first = shop.show(*orders(100, 7))
    shop.show(*orders(110, 9))
    last = shop.show(*orders(4, 11))
    assert arms(shop.see(ORDERS, first, last)) == (counts(14, 0), counts(4, 0))


def test_a_series_that_begins_counts_from_zero_where_it_was_looked_for_before(shop: Shop) -> None:
    first = shop.show(*orders(5, 0))
    last = shop.show(*orders(6, 2, lost={B: 2}))
    assert arms(shop.see(ORDERS, first, last)) == (counts(1, 0), counts(2, 2))


def test_an_arm_without_its_series_is_missing_and_not_zero(shop: Shop) -> None:
    first = shop.show(*orders(5, 0))
    last = shop.show(*orders(6, 0))
    assert arms(shop.see(ORDERS, first, last, candidate="bot-9.9.9-c")) == (counts(1, 0), None)


@pytest.mark.parametrize("odd", ["NaN", "+Inf", "-Inf", "-1"])
def test_what_no_counter_holds_is_an_error_and_no_number(shop: Shop, odd: str) -> None:
    first = shop.show("odd_total 1")
    last = shop.show(f"odd_total {odd}")
    with pytest.raises(MetricsUnavailable, match=r"holds (nan|inf|-inf|-1), which no counter does"):
        shop.see(asked(total="odd_total", bad="odd_total"), first, last)


def test_more_bad_ones_than_all_are_impossible(shop: Shop) -> None:
    first = shop.show('sold_total{v="x"} 1', 'gone_total{v="x"} 1')
    last = shop.show('sold_total{v="x"} 2', 'gone_total{v="x"} 5')
    with pytest.raises(MetricsUnavailable, match="`bad` rose by 4 and `total` by 1 only"):
        shop.see(asked(total='sold_total{v="x"}', bad='gone_total{v="x"}'), first, last)


def test_a_half_is_no_count_of_anything(shop: Shop) -> None:
    first = shop.show("weight_total 1")
    last = shop.show("weight_total 2.5")
    with pytest.raises(MetricsUnavailable, match=r"`total` rose by 1\.5, which is no count of anything"):
        shop.see(asked(total="weight_total", bad="weight_total"), first, last)


def test_a_check_of_the_metrics_names_series_that_nobody_has(shop: Shop) -> None:
    shop.show(*orders(1, 1, lost={A: 1}))
    metrics = MetricSources(shop.metrics, {"shop": shop.metrics})
    wrong = asked(total='orders_total{version="{served}"}', bad='lots_total{version="{served}"}')
    names = ("bot", "nobody-a", "nobody-b")
    good, bad = check_metrics(metrics, [ORDERS, wrong], names, timedelta(hours=1), lambda: 0.0)
    assert good.complaint is None
    assert bad.complaint is not None
    assert 'not had in 31 days: {__name__="lots_total",version!=""}' in bad.complaint
    assert "misspelt" in bad.advice


HOSTILE = [
    'x"} or orders_total{version!="',
    "x'} or orders_total{version!='",
    ".*",
    "a|b",
    'back\\slash"',
    "two\nlines",
    "ü\U0001f600`",
    "{stable}",
    "$(id)",
]


@pytest.mark.parametrize(
    "matcher",
    ['version="{served}"', "version='{served}'", 'version=~"{served}"', "version =~ '(?:{served})'"],
)
def test_a_hostile_name_is_a_name_and_changes_no_query(shop: Shop, matcher: str) -> None:
    names = [*HOSTILE, "axb", "a", "b", "version"]
    quoted = [name.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n") for name in names]
    known = 'never_total{version="somebody"} 1'
    since = shop.show(known, *(f'hostile_total{{version="{name}"}} 3' for name in quoted))
    until = shop.show(
        known, *(f'hostile_total{{version="{name}"}} {4 + place}' for place, name in enumerate(quoted))
    )
    asks = asked(total=f"hostile_total{{{matcher}}}", bad=f"never_total{{{matcher}}}")
    for place, name in enumerate(HOSTILE):
        seen = shop.see(asks, since, until, stable=name, candidate="nobody")
        assert arms(seen) == (counts(1 + place, 0), None), name
        answer = httpx.post(
            f"{shop.server.url}/api/v1/query", data={"query": seen.query[0]}, timeout=60
        ).json()
        assert [each["metric"]["version"] for each in answer["data"]["result"]] == [name]


def test_between_backticks_a_name_stands_as_it_is_or_not_at_all(shop: Shop) -> None:
    shop.show(*orders(1, 1), 'never_total{version="somebody"} 1')
    first = shop.show(*orders(1, 1))
    last = shop.show(*orders(3, 2))
    backticks = asked(total="orders_total{version=`{served}`}", bad="never_total{version=`{served}`}")
    assert arms(shop.see(backticks, first, last)) == (counts(2, 0), counts(1, 0))
    with pytest.raises(Unsupported, match="cannot stand between backticks"):
        shop.see(backticks, first, last, stable="`} or {a=`")


def test_a_placeholder_outside_of_a_value_is_refused(shop: Shop) -> None:
    edge = shop.metrics.edge()
    for total in ("orders_total{served}", 'orders_total{version="x"} or {name}', "{served}"):
        with pytest.raises(Unsupported, match="outside of a quoted value"):
            shop.see(asked(total=total, bad="x"), edge, edge)


@pytest.mark.parametrize(
    "expression",
    [
        "sum(orders_total)",
        "rate(orders_total[5m])",
        "orders_total + 1",
        "1",
        "orders_total #",
        "orders_total offset 5m",
    ],
)
def test_what_is_no_series_is_refused_in_prometheus_own_words(shop: Shop, expression: str) -> None:
    first = shop.show(*orders(1, 1))
    with pytest.raises(Unreadable, match=r"answered 400: .*|selects no series") as refused:
        shop.see(asked(total=expression, bad=expression), first, shop.show(*orders(2, 2)))
    assert len(str(refused.value)) < 1500


def histogram(name: str, version: str, *buckets: tuple[str, int]) -> list[str]:
    return [f'{name}_bucket{{version="{version}",le="{edge}"}} {number}' for edge, number in buckets]


def test_classic_histograms_are_marked_in_seconds_or_milliseconds_by_their_name(shop: Shop) -> None:
    def page(a: int, b: int) -> list[str]:
        return [
            line
            for name, unit in (("wait_seconds", 1.0), ("wait_milliseconds", 1000.0))
            for version, slow in ((A, a), (B, b))
            for line in histogram(
                name,
                version,
                (f"{0.1 * unit:g}", 2 * slow),
                (f"{0.2 * unit:g}", 3 * slow),
                ("+Inf", 4 * slow),
            )
        ]

    first, last = shop.show(*page(1, 1)), shop.show(*page(11, 101))
    seen = [
        shop.see(asked("latency", values=f'wait_{unit}_bucket{{version="{{served}}"}}'), first, last)
        for unit in ("seconds", "milliseconds")
    ]
    assert arms(seen[0]) == arms(seen[1]) == (counts(40, 0), counts(400, 0))
    assert seen[0].marks == seen[1].marks != ()
    assert {marks.stable.total for marks in seen[0].marks} == {40}


def test_a_histogram_that_lacks_the_edge_of_a_limit_is_refused(shop: Shop) -> None:
    def page(number: int) -> list[str]:
        return [
            line
            for version in (A, B)
            for line in histogram("lacking_seconds", version, ("0.1", number), ("+Inf", 2 * number))
        ]

    first, last = shop.show(*page(1)), shop.show(*page(9))
    metric = asked("latency", values='lacking_seconds_bucket{version="{served}"}')
    with pytest.raises(Unsupported, match="no edge at 150 ms, which `max_ms` names"):
        shop.see(metric.model_copy(update={"max_ms": 150.0}), first, last)


def test_all_buckets_of_a_histogram_began_anew_if_one_fell(shop: Shop) -> None:
    first = shop.show(*histogram("anew_seconds", A, ("0.1", 2), ("1.0", 50), ("+Inf", 50)))
    last = shop.show(*histogram("anew_seconds", A, ("0.1", 9), ("1.0", 10), ("+Inf", 10)))
    metric = asked("latency", values='anew_seconds_bucket{version="{served}"}')
    assert shop.see(metric, first, last).stable == counts(10, 0)


def test_scores_are_their_number_and_their_sum(shop: Shop) -> None:
    def page(number: int, total: float) -> list[str]:
        return [f'score_{of}{{version="{A}"}} {value}' for of, value in (("count", number), ("sum", total))]

    metric = asked("score", values='{__name__=~"score_(sum|count)",version="{served}"}')
    first, last = shop.show(*page(4, 2.5)), shop.show(*page(14, 10.0))
    assert arms(shop.see(metric, first, last)) == (counts(10, 0), None)
    moments = shop.see(metric, first, last, candidate=A).moments
    assert moments is not None
    assert (moments[0].number, moments[0].sum, moments[0].squares) == (10, 7.5, 7.5)
    beyond = shop.show(*page(15, 30.0))
    with pytest.raises(MetricsUnavailable, match="they are not between 0 and 1"):
        shop.see(metric, first, beyond)
