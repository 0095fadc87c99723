"""What every provider of metrics must do: one contract over real sockets, real files and databases, real processes."""

from __future__ import annotations

import csv
import json
import sqlite3
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollout.core.environment import CommandProvider, HttpProvider, Provider, SqlProvider
from rollout.core.metric import Comparison, Counts, MetricSpec, Stage
from rollout.core.query import complaints
from rollout.errors import MetricsUnavailable
from rollout.integrations.providers import ProviderMetrics, provider_metrics
from tests.support.servers import served

STABLE, CANDIDATE = "shop-1.0.0-a", "shop-1.1.0-b'; DROP TABLE orders --"
COMPARISON = Comparison(name="shop", stable=STABLE, candidate=CANDIDATE, stage=Stage.CANARY)

_ASKS: dict[str, dict[str, str]] = {
    "rate": {"total": "total", "bad": "bad"},
    "latency": {"values": "ms"},
    "score": {"values": "stars"},
}
_COLUMNS = {"rate": "count(*) AS total, sum(lost) AS bad", "latency": "ms", "score": "stars"}

PROGRAM = """
import csv, json, sys
question = json.load(sys.stdin)
rows = [
    row for row in csv.DictReader(open(sys.argv[1]))
    if row["served"] == question["served"] and question["since"] < int(row["sold_at"]) <= question["until"]
]
print(json.dumps({
    "total": len(rows), "bad": sum(int(row["lost"]) for row in rows),
    "ms": [float(row["ms"]) for row in rows], "stars": [float(row["stars"]) for row in rows],
}))
"""


@dataclass
class Row:
    """One order, and by whose answer it came about."""

    served: str
    at: int
    lost: int = 0
    ms: float = 100.0
    stars: float = 0.5


@dataclass
class Shop:
    """A provider and what stands behind it."""

    metrics: ProviderMetrics
    document: Provider
    query: Callable[[str], dict[str, Any]]
    write: Callable[[list[Row]], None]
    rows: list[Row] = field(default_factory=list)

    def sell(self, *rows: Row) -> None:
        self.rows += rows
        self.write(self.rows)

    def spec(self, kind: str = "rate", **changes: Any) -> MetricSpec:
        return metric(kind, {"provider": "shop", **self.query(kind)}, **changes)


def metric(kind: str, source: dict[str, Any], **changes: Any) -> MetricSpec:
    """A metric of that kind, asked of a provider."""
    accepted = {"max_ratio": 1.5} if kind == "latency" else {"max_abs": 0.1}
    values = {
        "schema": "adapter-rollout/metric/v1",
        "id": "orders",
        "title": "Orders",
        "kind": kind,
        "source": source,
        "direction": "higher_is_better" if kind == "score" else "lower_is_better",
        "min_samples": 1,
        "on_missing": "inconclusive",
        "stages": ["canary"],
        **accepted,
        **changes,
    }
    return MetricSpec.model_validate_json(json.dumps(values))


def _pointers(kind: str) -> dict[str, str]:
    return {key: f"/{name}" for key, name in _ASKS[kind].items()}


def _http(root: Path) -> Iterator[Shop]:
    rows: list[Row] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        asked = {key: value[0] for key, value in parse_qs(scope["query_string"].decode()).items()}
        found = [
            row for row in rows
            if row.served == asked["served"] and int(asked["since"]) < row.at <= int(asked["until"])
        ]  # fmt: skip
        body = json.dumps({
            "total": len(found), "bad": sum(row.lost for row in found),
            "ms": [row.ms for row in found], "stars": [row.stars for row in found],
        }).encode()  # fmt: skip
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    def write(sold: list[Row]) -> None:
        rows[:] = sold

    with served(app) as url:
        document = HttpProvider(kind="http", url=url)
        ask = "/kpi?served={served}&since={since}&until={until}"
        yield Shop(
            provider_metrics("shop", document, root), document,
            lambda kind: {"ask": ask, **_pointers(kind)}, write, rows,
        )  # fmt: skip


def _statement(kind: str, table: str) -> dict[str, Any]:
    where = "served = :served AND sold_at > :since AND sold_at <= :until"
    return {"ask": f"SELECT {_COLUMNS[kind]} FROM {table} WHERE {where}", **_ASKS[kind]}


def _write_csv(path: Path, rows: list[Row]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["served", "sold_at", "lost", "ms", "stars"])
        writer.writerows([row.served, row.at, row.lost, row.ms, row.stars] for row in rows)


def _files(root: Path) -> Iterator[Shop]:
    folder = root / "it's a folder"
    (folder / "orders").mkdir(parents=True)
    path = folder / "orders" / "today.csv"
    _write_csv(path, [Row("warm-up of the types", 0)])
    document = SqlProvider(kind="sql", folder=folder.name)
    yield Shop(
        provider_metrics("shop", document, root), document,
        lambda kind: _statement(kind, "'orders/*.csv'"),
        lambda rows: _write_csv(path, [Row("warm-up of the types", 0), *rows]),
    )  # fmt: skip


def _database(root: Path) -> Iterator[Shop]:
    path = root / "orders.sqlite"
    document = SqlProvider(kind="sql", url_env="SHOP_URL")

    def write(rows: list[Row]) -> None:
        with sqlite3.connect(path) as connection:
            connection.execute("DROP TABLE IF EXISTS orders")
            connection.execute("CREATE TABLE orders (served, sold_at, lost, ms, stars)")
            values = [(row.served, row.at, row.lost, row.ms, row.stars) for row in rows]
            connection.executemany("INSERT INTO orders VALUES (?, ?, ?, ?, ?)", values)
        connection.close()

    write([])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHOP_URL", f"sqlite:///{path}")
        yield Shop(
            provider_metrics("shop", document, root), document, lambda kind: _statement(kind, "orders"), write
        )


def _program(root: Path) -> Iterator[Shop]:
    (root / "kpi.py").write_text(PROGRAM)
    path = root / "orders.csv"
    _write_csv(path, [])
    document = CommandProvider(kind="command", command=(sys.executable, "kpi.py", "orders.csv"))
    yield Shop(
        provider_metrics("shop", document, root), document, _pointers, lambda rows: _write_csv(path, rows)
    )


SHOPS = {"http": _http, "files": _files, "database": _database, "program": _program}


@pytest.fixture(params=sorted(SHOPS))
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    yield from SHOPS[request.param](tmp_path)


def test_the_contracts_own_queries_are_in_order(shop: Shop) -> None:
    assert [list(complaints(shop.spec(kind), shop.document)) for kind in _ASKS] == [[], [], []]


def test_a_rate_counts_each_arm_by_its_own_name_and_no_other(shop: Shop) -> None:
    shop.sell(
        Row(STABLE, 150, lost=1), Row(STABLE, 160), Row(CANDIDATE, 150), Row("somebody-else", 150, lost=1)
    )
    seen = shop.metrics.samples(shop.spec(), COMPARISON, since="100", until="200")
    assert (seen.stable, seen.candidate) == (Counts(total=2, bad=1), Counts(total=1, bad=0))
    assert len(seen.query) == 2
    assert "100" in seen.query[0]
    assert "DROP" in seen.query[1]


def test_what_is_on_an_edge_counts_in_the_window_that_ends_there_and_in_no_other(shop: Shop) -> None:
    shop.sell(
        *(Row(STABLE, at) for at in (100, 101, 200, 201, 300)), *(Row(CANDIDATE, at) for at in (200, 300))
    )
    looks = [
        shop.metrics.samples(shop.spec(), COMPARISON, since=since, until=until)
        for since, until in (("100", "200"), ("200", "300"))
    ]
    assert [
        (look.stable.total, look.candidate.total) for look in looks if look.stable and look.candidate
    ] == [
        (2, 1),
        (2, 1),
    ]


@pytest.mark.parametrize("kind", ["http", "database"])
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    times=st.lists(st.integers(1, 60), max_size=20),
    cuts=st.lists(st.integers(0, 60), max_size=4),
)
def test_adjacent_looks_count_everything_once_wherever_they_are_cut(
    kind: str, tmp_path_factory: pytest.TempPathFactory, times: list[int], cuts: list[int]
) -> None:
    for shop in SHOPS[kind](tmp_path_factory.mktemp("shop")):
        shop.sell(*(Row(STABLE, at, lost=at % 2) for at in times))
        edges = [str(edge) for edge in sorted({0, *cuts, 60})]
        looks = [
            shop.metrics.samples(shop.spec(), COMPARISON, since=since, until=until)
            for since, until in pairwise(edges)
        ]
        counted = [look.stable for look in looks if look.stable is not None]
        assert len(counted) == len(looks)
        assert sum(each.total for each in counted) == len(times)
        assert sum(each.bad for each in counted) == sum(at % 2 for at in times)


def test_a_latency_has_all_times_those_beyond_the_limit_and_marks(shop: Shop) -> None:
    shop.sell(
        *(Row(STABLE, 150, ms=ms) for ms in (10, 20, 30)), *(Row(CANDIDATE, 150, ms=ms) for ms in (15, 900))
    )
    seen = shop.metrics.samples(shop.spec("latency", max_ms=500), COMPARISON, since="100", until="200")
    assert (seen.stable, seen.candidate) == (Counts(total=3, bad=0), Counts(total=2, bad=1))
    assert {marks.quantile for marks in seen.marks} == {0.5, 0.95}
    assert all(marks.candidate.bad >= 1 for marks in seen.marks), "the slowest of all is the candidate's"
    assert seen.observed["P50"] == (20.0, pytest.approx(457.5))


def test_a_score_has_its_moments(shop: Shop) -> None:
    shop.sell(Row(STABLE, 150, stars=0.5), Row(STABLE, 151, stars=1.0), Row(CANDIDATE, 150, stars=0.25))
    seen = shop.metrics.samples(shop.spec("score"), COMPARISON, since="100", until="200")
    assert seen.moments is not None
    stable, candidate = seen.moments
    assert (stable.number, stable.sum, stable.squares) == (2, 1.5, 1.25)
    assert (candidate.number, candidate.sum, candidate.squares) == (1, 0.25, 0.0625)
    assert seen.observed["mean"] == (0.75, 0.25)


@pytest.mark.parametrize("kind", sorted(_ASKS))
def test_a_window_without_anything_has_nothing_and_nothing_bad(shop: Shop, kind: str) -> None:
    seen = shop.metrics.samples(shop.spec(kind), COMPARISON, since="100", until="200")
    assert (seen.stable, seen.candidate) == (Counts(total=0, bad=0), Counts(total=0, bad=0))
    assert seen.marks == ()


@pytest.mark.parametrize("score", [1.5, -0.1])
def test_a_score_that_is_none_is_an_error_and_counts_nowhere(shop: Shop, score: float) -> None:
    shop.sell(Row(STABLE, 150, stars=score), Row(CANDIDATE, 150))
    with pytest.raises(MetricsUnavailable, match=r"'shop', asked for orders: .*between 0 and 1"):
        shop.metrics.samples(shop.spec("score"), COMPARISON, since="100", until="200")


def test_a_negative_time_is_an_error(shop: Shop) -> None:
    shop.sell(Row(STABLE, 150), Row(CANDIDATE, 150, ms=-1))
    with pytest.raises(MetricsUnavailable, match=r"the time -1 ms"):
        shop.metrics.samples(shop.spec("latency"), COMPARISON, since="100", until="200")


def test_more_bad_ones_than_there_are_is_an_error(shop: Shop) -> None:
    shop.sell(Row(STABLE, 150, lost=2), Row(CANDIDATE, 150))
    with pytest.raises(MetricsUnavailable, match="more than the 1 of"):
        shop.metrics.samples(shop.spec(), COMPARISON, since="100", until="200")


def test_an_edge_is_now_less_the_lag_in_whole_seconds(shop: Shop) -> None:
    source = ProviderMetrics("shop", shop.document, shop.metrics._asked, now=lambda: 1000.9)
    assert source.edge() == str(1000 - 30)
    assert source.edge_before(timedelta(minutes=10)) == str(1000 - 30 - 600)


def test_a_window_of_no_second_asks_nobody_and_knows_neither_arm(shop: Shop) -> None:
    shop.sell(Row(STABLE, 100), Row(CANDIDATE, 100))
    seen = shop.metrics.samples(shop.spec(), COMPARISON, since="100", until="100")
    assert (seen.stable, seen.candidate, seen.query) == (None, None, ())


@pytest.mark.parametrize(
    ("since", "until"), [("200", "100"), ("", "200"), ("abc:1", "200"), ("1e3", "2000"), ("-5", "3")]
)
def test_a_window_that_is_none_is_refused(shop: Shop, since: str, until: str) -> None:
    with pytest.raises(
        MetricsUnavailable, match=r"asked for orders: (the clock went back|.* is no edge of it)"
    ):
        shop.metrics.samples(shop.spec(), COMPARISON, since=since, until=until)


def test_nobody_but_the_gateways_says_who_was_served_what(shop: Shop) -> None:
    with pytest.raises(MetricsUnavailable, match="does not know who was served what"):
        shop.metrics.exposure(COMPARISON, since="1", until="2", flag_version=1)


def test_a_metric_that_was_never_checked_is_refused_rather_than_asked_wrongly(shop: Shop) -> None:
    lacking = metric("rate", {"provider": "shop", **{**shop.query("rate"), "bad": None}})
    with pytest.raises(MetricsUnavailable, match="a metric of kind rate needs `bad`"):
        shop.metrics.samples(lacking, COMPARISON, since="100", until="200")
