"""Providers that are broken, slow or hostile: nothing of that is ever zero, a pass, or a way out."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from rollout.core.environment import CommandProvider, HttpProvider, Provider, SqlProvider
from rollout.core.metric import Comparison, Counts, MetricSpec, Samples, Stage
from rollout.errors import MetricsUnavailable
from rollout.integrations.providers import provider_metrics
from tests.contracts.test_metric_provider import metric
from tests.support.servers import served

COMPARISON = Comparison(name="shop", stable="a", candidate="b", stage=Stage.CANARY)
WINDOW = "served = :served AND 1 > :since AND 1 <= :until"
RATE = {"provider": "shop", "ask": "/kpi?of={served}&a={since}&b={until}", "total": "/total", "bad": "/bad"}
VALUES = {"provider": "shop", "ask": RATE["ask"], "values": "/ms"}
Send = Callable[[dict[str, Any]], Any]


def look(root: Path, document: Provider, spec: MetricSpec, stage: Stage = Stage.CANARY) -> Samples:
    comparison = Comparison(name="shop", stable="a", candidate="b", stage=stage)
    metrics = provider_metrics("shop", document, root)  # type: ignore[arg-type]
    return metrics.samples(spec, comparison, since="0", until="100")


def refused(root: Path, document: Provider, spec: MetricSpec) -> str:
    with pytest.raises(MetricsUnavailable) as error:
        look(root, document, spec)
    assert error.value.message.startswith("provider 'shop', asked for orders: ")
    return error.value.message


@contextmanager
def service(
    body: bytes = b"", status: int = 200, headers: dict[str, str] | None = None, seen: list[Any] | None = None
) -> Iterator[str]:
    """A service that answers this to everybody."""

    async def app(scope: Any, receive: Any, send: Send) -> None:
        if scope["type"] != "http":
            return
        if seen is not None:
            seen.append(scope)
        pairs = [(key.encode(), value.encode()) for key, value in (headers or {}).items()]
        await send({"type": "http.response.start", "status": status, "headers": pairs})
        await send({"type": "http.response.body", "body": body})

    with served(app) as url:
        yield url


def http(url: str, **changes: Any) -> HttpProvider:
    return HttpProvider.model_validate({"kind": "http", "url": url, "timeout_s": 5, **changes})


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b'{"total": 3}', "there is no /bad"),
        (b'{"total": true, "bad": false}', "/total is a truth value, and no number"),
        (b'{"total": "3", "bad": 0}', "/total is text of length 1, and no number"),
        (b'{"total": null, "bad": null}', "/total is null, and no number"),
        (b'{"total": 3, "bad": null}', "/bad is null, and no number"),
        (b'{"total": 3, "bad": -1}', "/bad is -1, and no count"),
        (b'{"total": 3, "bad": 0.5}', "/bad is 0.5, and no count"),
        (b'{"total": NaN, "bad": 0}', "holds NaN, which is no JSON"),
        (b'{"total": Infinity, "bad": 0}', "holds Infinity, which is no JSON"),
        (b'{"total": 1e999, "bad": 0}', "/total is inf, and no finite number"),
        (b'{"total": 1' + b"0" * 400 + b', "bad": 0}', "and no finite number"),
        (b'{"total": 9' + b"0" * 20 + b', "bad": 0}', "and no count"),
        (b'{"total": [3], "bad": 0}', "/total is a list, and no number"),
        (b'{"total": 3, "bad": 4}', "/bad is 4, more than the 3 of /total"),
        (b'{"total": 3, "total": 4, "bad": 0}', "has a member twice"),
        (b"[]", "there is no /total"),
        (b"", "is no JSON"),
        (b"<html>", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b'{"total": 1' + b"1" * 5000 + b"}", "is no JSON"),
        (b'{"total": "\xff"}', "is no JSON"),
    ],
)
def test_an_answer_that_is_no_count_is_an_error_that_says_why(tmp_path: Path, body: bytes, why: str) -> None:
    with service(body) as url:
        assert why in refused(tmp_path, http(url), metric("rate", RATE))


def test_whole_numbers_may_be_written_as_fractions(tmp_path: Path) -> None:
    with service(b'{"total": 12.0, "bad": 0}') as url:
        seen = look(tmp_path, http(url), metric("rate", RATE))
    assert seen.stable == Counts(total=12, bad=0)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"{}", "there is no /ms"),
        (b'{"ms": 3}', "/ms is 3, and no list"),
        (b'{"ms": [1, null]}', "/ms is null, and no number"),
        (b'{"ms": [1, true]}', "/ms is a truth value, and no number"),
        (b'{"ms": [' + b"1," * 100_000 + b"1]}", "has 100001 values, more than 100000"),
    ],
)
def test_a_list_of_times_is_whole_or_no_answer(tmp_path: Path, body: bytes, why: str) -> None:
    with service(body) as url:
        assert why in refused(tmp_path, http(url), metric("latency", VALUES))


def test_a_histogram_has_the_same_marks_as_its_values_in_the_same_buckets(tmp_path: Path) -> None:
    body = {"ms": [50, 150, 250], "le": [100, 200, None], "n": [1, 1, 1]}
    buckets = metric("latency", {**VALUES, "values": "/le, /n"}, max_ms=200)
    values = metric("latency", VALUES, max_ms=200, buckets=[100, 200])
    with service(json.dumps(body).encode()) as url:
        counted, single = (look(tmp_path, http(url), spec) for spec in (buckets, values))
    assert counted.marks == single.marks
    assert counted.marks != ()
    assert counted.stable == single.stable == Counts(total=3, bad=1)


@pytest.mark.parametrize(
    "body",
    [
        {"le": [100, 200], "n": [1, 1]},
        {"le": [100, None], "n": [1]},
        {"le": [None], "n": [1.5]},
        {"le": [], "n": []},
        {"le": [200, 100, None], "n": [1, 1, 1]},
        {"le": [0, None], "n": [1, 1]},
        {"le": [None, None], "n": [1, 1]},
    ],
)
def test_a_histogram_that_hides_its_slowest_or_is_out_of_order_is_none(
    tmp_path: Path, body: dict[str, Any]
) -> None:
    with service(json.dumps(body).encode()) as url:
        refused(tmp_path, http(url), metric("latency", {**VALUES, "values": "/le, /n"}))


def test_pairs_are_asked_once_about_the_candidate_and_are_differences(tmp_path: Path) -> None:
    source = {**VALUES, "values": "/theirs, /ours", "ask": RATE["ask"] + "&beside={stable}"}
    spec = metric("score", source, stages=["shadow"])
    asked: list[Any] = []
    with service(b'{"theirs": [0.5, 1], "ours": [0.75, 0]}', seen=asked) as url:
        seen = look(tmp_path, http(url), spec, Stage.SHADOW)
    assert seen.differences == (0.25, -1.0)
    assert seen.stable == seen.candidate == Counts(total=2, bad=0)
    assert [scope["query_string"] for scope in asked] == [b"of=b&a=0&b=100&beside=a"]


def test_scores_without_a_partner_are_no_pairs(tmp_path: Path) -> None:
    spec = metric("score", {**VALUES, "values": "/theirs, /ours"}, stages=["shadow"])
    with service(b'{"theirs": [0.5, 1], "ours": [0.75]}') as url:
        assert "2 scores of stable and 1 of the candidate are no pairs" in refused(tmp_path, http(url), spec)


@pytest.mark.parametrize(
    ("status", "why"), [(500, "it answered 500"), (404, "it answered 404"), (204, "it answered 204")]
)
def test_only_a_200_is_an_answer(tmp_path: Path, status: int, why: str) -> None:
    with service(b"" if status == 204 else b'{"total": 1, "bad": 0}', status) as url:
        assert why in refused(tmp_path, http(url), metric("rate", RATE))


def test_a_redirect_is_not_followed_and_takes_the_token_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_TOKEN", "very-secret")
    elsewhere: list[Any] = []
    with (
        service(b'{"total": 1, "bad": 0}', seen=elsewhere) as other,
        service(status=302, headers={"location": f"{other}/?token=very-secret"}) as url,
    ):
        message = refused(tmp_path, http(url, token_env="SHOP_TOKEN"), metric("rate", RATE))
    assert "redirects are not followed" in message
    assert "very-secret" not in message
    assert elsewhere == []


def test_the_token_is_sent_and_shown_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_TOKEN", "very-secret")
    seen: list[Any] = []
    with service(b'{"total": 1, "bad": 0}', seen=seen) as url:
        samples = look(tmp_path, http(url, token_env="SHOP_TOKEN"), metric("rate", RATE))
    assert (b"authorization", b"Bearer very-secret") in seen[0]["headers"]
    assert "very-secret" not in repr(samples)


@pytest.mark.parametrize("value", [None, "two words"])
def test_without_a_sound_token_nothing_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.delenv("SHOP_TOKEN", raising=False)
    if value is not None:
        monkeypatch.setenv("SHOP_TOKEN", value)
    seen: list[Any] = []
    with service(b'{"total": 1, "bad": 0}', seen=seen) as url:
        message = refused(tmp_path, http(url, token_env="SHOP_TOKEN"), metric("rate", RATE))
    assert "SHOP_TOKEN" in message
    assert "two words" not in message
    assert seen == []


def test_a_service_that_is_not_there_is_named_with_its_error(tmp_path: Path) -> None:
    assert "it did not answer: ConnectError" in refused(
        tmp_path, http("http://127.0.0.1:9"), metric("rate", RATE)
    )


def test_an_answer_of_ten_gigabytes_is_cut_and_counts_for_nothing(tmp_path: Path) -> None:
    sent: list[int] = []

    class Flood(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            with suppress(OSError):
                while len(sent) < 10_000:
                    self.wfile.write(b" " * 2**20)
                    sent.append(2**20)

        def log_message(self, *words: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Flood) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        document = http(f"http://127.0.0.1:{server.server_port}", timeout_s=120)
        assert "more than 16777216 bytes" in refused(tmp_path, document, metric("rate", RATE))
        thread.join()
    assert len(sent) < 1000, "nobody took the rest"


def test_an_answer_in_drops_ends_with_the_time_limit(tmp_path: Path) -> None:
    """Each drop comes within the time that a read may take; together they never end."""

    async def app(scope: Any, receive: Any, send: Send) -> None:
        import asyncio

        if scope["type"] != "http":
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(600):
            await asyncio.sleep(0.1)
            await send({"type": "http.response.body", "body": b" ", "more_body": True})

    with served(app) as url:
        assert "it took longer than 1 s" in refused(tmp_path, http(url, timeout_s=1), metric("rate", RATE))


def test_a_packed_answer_is_not_unpacked(tmp_path: Path) -> None:
    with service(b"\x1f\x8b", headers={"content-encoding": "gzip"}) as url:
        assert "packed its answer" in refused(tmp_path, http(url), metric("rate", RATE))


@pytest.mark.parametrize("name", ["../admin", "a/b", "a?x=1#y", "%2e%2e", "ä ö\n"])
def test_a_served_name_stays_in_its_place_of_the_path(tmp_path: Path, name: str) -> None:
    seen: list[Any] = []
    spec = metric("rate", {**RATE, "ask": "/kpi/{served}/orders?a={since}&b={until}"})
    with service(b'{"total": 1, "bad": 0}', seen=seen) as url:
        provider_metrics("shop", http(url), tmp_path).samples(
            spec,
            Comparison(name="shop", stable=name, candidate=name, stage=Stage.CANARY),
            since="0",
            until="9",
        )
    assert seen[0]["path"] == f"/kpi/{name}/orders"
    assert seen[0]["raw_path"].count(b"/") == 3
    assert seen[0]["query_string"] == b"a=0&b=9"


@pytest.mark.parametrize("name", [".", ".."])
def test_a_name_that_would_climb_is_not_asked_about(tmp_path: Path, name: str) -> None:
    spec = metric("rate", {**RATE, "ask": "/kpi/{served}/orders?a={since}&b={until}"})
    comparison = Comparison(name="shop", stable=name, candidate="b", stage=Stage.CANARY)
    with pytest.raises(MetricsUnavailable, match="is no path"):
        provider_metrics("shop", http("http://127.0.0.1:9"), tmp_path).samples(
            spec, comparison, since="0", until="9"
        )


# Statements


def sql(ask: str, **changes: Any) -> MetricSpec:
    return metric("rate", {"provider": "shop", "ask": ask, "total": "total", "bad": "bad", **changes})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/orders.csv").write_text("served,total,bad\na,3,1\nb,2,0\n")
    (tmp_path / "secret.csv").write_text("served,total,bad\na,666,0\nb,666,0\n")
    return tmp_path


FILES = SqlProvider(kind="sql", folder="data", timeout_s=5)


def test_files_are_named_by_their_paths_in_the_folder(folder: Path) -> None:
    (folder / "data/more.jsonl").write_text('{"served": "a", "n": 5}\n{"served": "b", "n": 6}\n')
    for ask in (
        f"SELECT total, bad FROM 'orders.csv' WHERE {WINDOW}",
        f"SELECT total, bad FROM read_csv('orders.csv', header = true) WHERE {WINDOW}",
        f"WITH o AS (SELECT * FROM '*.csv') SELECT total, bad FROM o WHERE {WINDOW}",
    ):
        assert look(folder, FILES, sql(ask)).stable == Counts(total=3, bad=1), ask
    lines = sql(f"SELECT n AS total, 0 AS bad FROM 'more.jsonl' WHERE {WINDOW}")
    assert look(folder, FILES, lines).candidate == Counts(total=6, bad=0)


def test_files_in_lists_in_joins_and_with_odd_names_are_found_as_well(folder: Path) -> None:
    (folder / "data/sub").mkdir()
    (folder / "data/sub/it's é.csv").write_text("served,total,bad\na,3,1\nb,2,0\n")
    for table in (
        "read_csv(['orders.csv', 'sub/it''s é.csv'], delim = ',')",
        "read_csv_auto('**/*.csv')",
    ):
        ask = f"SELECT sum(total) AS total, sum(bad) AS bad FROM {table} WHERE {WINDOW}"
        assert look(folder, FILES, sql(ask)).stable == Counts(total=6, bad=2), table
    joined = "'orders.csv' AS o JOIN (FROM 'sub/it''s é.csv') AS more USING (served)"
    ask = f"SELECT o.total + more.total AS total, o.bad FROM {joined} WHERE 'é' = 'é' AND {WINDOW}"
    assert look(folder, FILES, sql(ask)).stable == Counts(total=6, bad=1)


@pytest.mark.parametrize(
    "bad",
    [
        "state IS DISTINCT FROM 'paid'",
        "NOT (state IS NOT DISTINCT FROM 'paid')",
        "trim(BOTH FROM 'x ') = 'x' AND state <> 'paid'",
        "state <> replace('paid FROM ''paid''', ' FROM ''paid''', '')",
    ],
)
def test_a_text_behind_from_that_is_no_file_is_left_as_it_is(folder: Path, bad: str) -> None:
    (folder / "data/states.csv").write_text("served,state\na,paid\na,lost\na,lost\nb,paid\n")
    ask = f"SELECT count(*) AS total, count_if({bad}) AS bad FROM 'states.csv' WHERE {WINDOW}"
    seen = look(folder, FILES, sql(ask))
    assert (seen.stable, seen.candidate) == (Counts(total=3, bad=2), Counts(total=1, bad=0))


def test_parquet_is_read(folder: Path) -> None:
    import duckdb

    duckdb.sql("SELECT 'a' AS served, 4 AS total, 1 AS bad UNION ALL SELECT 'b', 5, 2").write_parquet(
        str(folder / "data/orders.parquet")
    )
    seen = look(folder, FILES, sql(f"SELECT total, bad FROM 'orders.parquet' WHERE {WINDOW}"))
    assert (seen.stable, seen.candidate) == (Counts(total=4, bad=1), Counts(total=5, bad=2))


@pytest.mark.parametrize(
    "table",
    [
        "'../secret.csv'",
        "'sub/../../secret.csv'",
        "read_csv('../secret.csv')",
        "read_csv(['orders.csv', '../secret.csv'])",
        "'{root}/secret.csv'",
        "read_text('/etc/hostname')",
        "read_blob('{root}/secret.csv')",
        "glob('/*')",
        "'https://example.org/orders.csv'",
        "'s3://bucket/orders.csv'",
        "query('SELECT * FROM read_csv(''{root}/secret.csv'')')",
        "sqlite_scan('{root}/x.db', 'orders')",
        "read_csv('orders' || '.csv')",
        "query('SELECT * FROM ''orders.csv''')",
        "read_csv(['orders.csv', 'sub/../../secret.csv'])",
        "WINDOW",
    ],
)
def test_no_table_is_outside_of_the_folder(folder: Path, table: str) -> None:
    ask = f"SELECT 1 AS total, 0 AS bad FROM {table.format(root=folder)} WHERE 'a' < :served AND :since < :until"
    assert "DuckDB refuses it" in refused(folder, FILES, sql(ask))


@pytest.mark.parametrize(
    "statement",
    [
        "COPY (SELECT 1) TO 'stolen.csv'",
        "ATTACH 'x.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "PRAGMA database_list",
        "CREATE TABLE t (x int)",
        "DELETE FROM orders",
        "SELECT 1 AS total, 0 AS bad; COPY (SELECT 1) TO 'stolen.csv'",
        "WITH x AS (DELETE FROM orders RETURNING *) SELECT * FROM x",
        "SELECT * INTO stolen FROM orders",
        "EXPLAIN ANALYZE SELECT 1",
    ],
)
@pytest.mark.parametrize("kind", ["files", "database"])
def test_nothing_but_one_select_reaches_a_database(
    folder: Path, monkeypatch: pytest.MonkeyPatch, statement: str, kind: str
) -> None:
    monkeypatch.setenv("SHOP_URL", f"sqlite:///{folder / 'orders.sqlite'}")
    document = FILES if kind == "files" else SqlProvider(kind="sql", url_env="SHOP_URL")
    ask = f"{statement} -- :served :since :until"
    message = refused(folder, document, sql(f"{statement} /* :served */"))
    assert "is not one SELECT" in message
    assert "is not one SELECT" in refused(folder, document, sql(ask))
    assert sorted(each.name for each in folder.rglob("*")) == ["data", "orders.csv", "secret.csv"]


def test_duckdb_itself_is_locked_down_whatever_the_check_of_the_text_says(folder: Path) -> None:
    import duckdb

    from rollout.integrations.providers.answer import Unanswered
    from rollout.integrations.providers.sqlfiles import _locked, ask_files

    with pytest.raises(Unanswered, match="not one SELECT"):
        ask_files(folder / "data", "COPY (SELECT 1) TO 'out.csv'", {}, ("total",), seconds=5)
    connection = _locked(folder / "data")
    for statement in ("SET threads = 8", "LOAD httpfs", f"ATTACH '{folder}/x.db'", "SELECT * FROM FILES"):
        with pytest.raises(duckdb.Error):
            connection.execute(statement)


def test_a_link_that_leads_out_of_the_folder_closes_it(folder: Path) -> None:
    (folder / "data/innocent.csv").symlink_to(folder / "secret.csv")
    message = refused(folder, FILES, sql(f"SELECT total, bad FROM 'orders.csv' WHERE {WINDOW}"))
    assert "innocent.csv is a link that leads out of the folder" in message


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    assert "there is no folder data" in refused(
        tmp_path, FILES, sql(f"SELECT total, bad FROM 'orders.csv' WHERE {WINDOW}")
    )


@pytest.mark.parametrize(
    ("ask", "why"),
    [
        (f"SELECT total, bad FROM 'orders.csv' WHERE {WINDOW} AND total > 99", "no rows came back"),
        ("SELECT total, bad FROM 'orders.csv' WHERE '' < :served AND :since < :until", "2 rows came back"),
        (f"SELECT total FROM 'orders.csv' WHERE {WINDOW}", "the column bad is not among the 1 that came back"),
        (f"SELECT total, bad, bad + 1 AS bad FROM 'orders.csv' WHERE {WINDOW}", "the column bad is there 2 times"),
        (f"SELECT total, NULL AS bad FROM 'orders.csv' WHERE {WINDOW}", "bad is null, and no number"),
        (f"SELECT total, 'nan'::DOUBLE AS bad FROM 'orders.csv' WHERE {WINDOW}", "bad is nan, and no finite"),
        (f"SELECT 'inf'::DOUBLE AS total, bad FROM 'orders.csv' WHERE {WINDOW}", "total is inf, and no finite"),
        (f"SELECT total, bad > 0 AS bad FROM 'orders.csv' WHERE {WINDOW}", "bad is a truth value, and no number"),
        (f"SELECT DISTINCT total, bad FROM 'orders.csv', range(2) WHERE {WINDOW} AND range < 0", "no rows"),
        (f"SELECT total, bad FROM 'orders.csv', range(2) WHERE {WINDOW}", "2 rows came back where total is one"),
        (f"SELECT total, '0' AS bad FROM 'orders.csv' WHERE {WINDOW}", "bad is text of length 1, and no number"),
        (f"SELECT total, '\\xAA'::BLOB AS bad FROM 'orders.csv' WHERE {WINDOW}", "bad is bytes of length 1, and no"),
        (f"SELECT total, [0] AS bad FROM 'orders.csv' WHERE {WINDOW}", "bad is a list, and no number"),
        (f"SELECT total, uuid() AS bad FROM 'orders.csv' WHERE {WINDOW}", "bad is of type UUID, and no number"),
        (f"SELECT total, '2026-01-01'::DATE AS bad FROM 'orders.csv' WHERE {WINDOW}", "bad is of type date, and"),
        (f"SELECT total, '2026-01-01'::TIMESTAMP AS bad FROM 'orders.csv' WHERE {WINDOW}", "bad is of type datetime"),
        (f"SELECT total, '290000-01-01'::TIMESTAMP AS bad FROM 'orders.csv' WHERE {WINDOW}", "and no number"),
        (f"SELECT total, now() AS bad FROM 'orders.csv' WHERE {WINDOW}", "bad is of type TIMESTAMP WITH TIME ZONE"),
        (f"SELECT total, INTERVAL 1 DAY AS bad FROM 'orders.csv' WHERE {WINDOW}", "bad is of type timedelta"),
        (f"SELECT 2::HUGEINT ** 100 AS total, bad FROM 'orders.csv' WHERE {WINDOW}", "total is about 1e+30, and no"),
        (f"SELECT (2::HUGEINT << 100)::HUGEINT AS total, bad FROM 'orders.csv' WHERE {WINDOW}", "total is about 3e+30"),
        (f"SELECT total, 0.00000000000000000001::DECIMAL(38,20) + 1 AS bad FROM 'orders.csv' WHERE {WINDOW}",
         "bad is 1, and no count"),
        (f"SELECT total, bad FROM 'nowhere.csv' WHERE {WINDOW}", "DuckDB refuses it: IO Error: No files found"),
    ],
)  # fmt: skip
def test_rows_that_are_no_count_are_an_error_that_says_why(folder: Path, ask: str, why: str) -> None:
    assert why in refused(folder, FILES, sql(ask))


def test_the_sum_over_nothing_is_nothing_where_there_was_nothing(folder: Path) -> None:
    ask = f"SELECT count(*) AS total, sum(bad) AS bad FROM 'orders.csv' WHERE {WINDOW} AND total > 99"
    assert look(folder, FILES, sql(ask)).stable == Counts(total=0, bad=0)


def test_too_many_rows_are_no_sample(folder: Path) -> None:
    ask = "SELECT range AS ms FROM range(100001) WHERE '' < :served AND :since < :until"
    spec = metric("latency", {"provider": "shop", "ask": ask, "values": "ms"})
    assert "more than 100000 rows" in refused(folder, FILES, spec)


def test_a_statement_without_end_is_broken_off(folder: Path) -> None:
    ask = (
        "SELECT count(*) AS total, 0 AS bad FROM range(1000000000) x, range(1000000000) y "
        "WHERE x.range * y.range % 7 = 3 AND '' < :served AND :since < :until"
    )
    document = SqlProvider(kind="sql", folder="data", timeout_s=0.5)
    assert "it took longer than 0.5 s" in refused(folder, document, sql(ask))


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SqlProvider:
    path = tmp_path / "orders.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE orders (served, bad)")
        connection.executemany("INSERT INTO orders VALUES (?, ?)", [("a", 0), ("a", 1), ("b'; --", 1)])
    connection.close()
    monkeypatch.setenv("SHOP_URL", f"sqlite:///{path}")
    return SqlProvider(kind="sql", url_env="SHOP_URL", timeout_s=5)


def test_a_name_with_quotes_is_a_value_and_never_a_statement(tmp_path: Path, database: SqlProvider) -> None:
    spec = sql(f"SELECT count(*) AS total, sum(bad) AS bad FROM orders WHERE {WINDOW}")
    comparison = Comparison(name="shop", stable="a", candidate="b'; --", stage=Stage.CANARY)
    seen = provider_metrics("shop", database, tmp_path).samples(spec, comparison, since="0", until="9")
    assert (seen.stable, seen.candidate) == (Counts(total=2, bad=1), Counts(total=1, bad=1))


def test_what_looks_like_a_parameter_in_quotes_or_a_comment_is_none(
    tmp_path: Path, database: SqlProvider
) -> None:
    spec = sql(
        "SELECT count(*) AS total, 0 AS bad FROM orders /* :nobody */ "
        f"WHERE ':since 10:30 ::x' <> 'no' AND {WINDOW} -- :nothing"
    )
    assert look(tmp_path, database, spec).stable == Counts(total=2, bad=0)


def test_a_database_is_opened_for_reading(tmp_path: Path, database: SqlProvider) -> None:
    from rollout.integrations.providers.answer import Unanswered
    from rollout.integrations.providers.sqldatabase import ask_database

    url = f"sqlite:///{tmp_path / 'orders.sqlite'}"
    with pytest.raises(Unanswered, match="attempt to write a readonly database"):
        ask_database(url, "DELETE FROM orders", {}, ("total",), seconds=5)
    with sqlite3.connect(tmp_path / "orders.sqlite") as connection:
        assert connection.execute("SELECT count(*) FROM orders").fetchone() == (3,)
    connection.close()


def test_a_long_statement_of_a_database_is_broken_off(tmp_path: Path, database: SqlProvider) -> None:
    ask = (
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) "
        "SELECT count(*) AS total, 0 AS bad FROM n WHERE '' < :served AND :since < :until"
    )
    document = database.model_copy(update={"timeout_s": 0.5})
    assert "it took longer than 0.5 s" in refused(tmp_path, document, sql(ask))


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:////nowhere/s3cret.sqlite",
        "postgresql+nodriver://joe:s3cret@db.example/orders",
        "nonsense s3cret",
        "mystery://joe:s3cret@db.example/orders",
        "sqlite:///:memory:",
        "postgresql+psycopg://joe:s3cret@127.0.0.1:9/orders",
    ],
)
def test_an_address_is_in_no_error(
    tmp_path: Path, database: SqlProvider, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("SHOP_URL", url)
    spec = sql(f"SELECT 1 AS total, 0 AS bad FROM orders WHERE {WINDOW}")
    with pytest.raises(MetricsUnavailable) as error:
        look(tmp_path, database, spec)
    assert "s3cret" not in error.value.message
    assert "joe" not in error.value.message
    assert error.value.__cause__ is None
    assert error.value.__suppress_context__ or "s3cret" not in repr(error.value.__context__)


def test_a_database_without_its_variable_is_not_asked(
    tmp_path: Path, database: SqlProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SHOP_URL")
    assert "the environment variable SHOP_URL, which holds its URL, is not set" in refused(
        tmp_path, database, sql(f"SELECT 1 AS total, 0 AS bad FROM orders WHERE {WINDOW}")
    )


# Programs


def program(tmp_path: Path, text: str, **changes: Any) -> CommandProvider:
    (tmp_path / "kpi.py").write_text(text)
    document = {"kind": "command", "command": [sys.executable, "-S", "kpi.py"], "timeout_s": 20, **changes}
    return CommandProvider.model_validate_json(json.dumps(document))


COUNTED = metric("rate", {"provider": "shop", "ask": "orders", "total": "/total", "bad": "/bad"})


def test_a_program_is_asked_on_its_standard_input(tmp_path: Path) -> None:
    text = "import sys; open('asked', 'a').write(sys.stdin.read()); print('{\"total\": 2, \"bad\": 1}')"
    seen = look(tmp_path, program(tmp_path, text), COUNTED)
    assert seen.candidate == Counts(total=2, bad=1)
    asked = [json.loads(line) for line in (tmp_path / "asked").read_text().splitlines()]
    assert asked[1] == {
        "metric": "orders", "kind": "rate", "ask": "orders", "name": "shop", "served": "b", "stable": "a",
        "stage": "canary", "since": 0, "until": 100,
    }  # fmt: skip
    assert asked[0]["served"] == "a"


def test_a_program_sees_the_variables_it_was_given_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_KEY", "k")
    monkeypatch.setenv("GITHUB_TOKEN", "t")
    text = "import os, json; open('seen', 'w').write(json.dumps(sorted(os.environ))); print('{\"total\":0,\"bad\":0}')"
    look(tmp_path, program(tmp_path, text, environment=["SHOP_KEY", "NOT_SET"]), COUNTED)
    seen = set(json.loads((tmp_path / "seen").read_text()))
    assert seen - {"LC_CTYPE", "__CF_USER_TEXT_ENCODING"} == {"HOME", "PATH", "SHOP_KEY"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("import sys; print('one', file=sys.stderr); sys.exit('two \\x1b[31m')", "it ended with 1: two [31m"),
        ("import sys; sys.exit(3)", "it ended with 3: it said nothing"),
        ("import os; os.kill(os.getpid(), 9)", "it ended with -9"),
        ("print('no json')", "is no JSON"),
        ("pass", "is no JSON"),
        ('print(\'{"total": 1, "bad": NaN}\')', "holds NaN"),
    ],
)
def test_a_program_that_fails_is_an_error_with_its_last_words(tmp_path: Path, text: str, why: str) -> None:
    assert why in refused(tmp_path, program(tmp_path, text), COUNTED)


def test_what_a_program_says_last_is_without_the_secrets_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_KEY", "very-secret")
    text = "import os, sys; sys.exit('refused: ' + os.environ['SHOP_KEY'])"
    message = refused(tmp_path, program(tmp_path, text, environment=["SHOP_KEY"]), COUNTED)
    assert "refused: ***" in message


def test_a_program_that_forks_and_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    text = (
        "import os, time\nchild = os.fork()\nopen('pids', 'a').write(f'{os.getpid()}\\n')\ntime.sleep(600)\n"
    )
    began = time.monotonic()
    assert "it took longer than 6 s" in refused(tmp_path, program(tmp_path, text, timeout_s=6), COUNTED)
    assert time.monotonic() - began < 300, "it did not wait for the program's own end"
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 2
    for pid in pids:
        _until_ended(pid)


def test_a_child_that_outlives_its_parent_is_ended_and_does_not_spoil_the_answer(tmp_path: Path) -> None:
    text = (
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    for fd in (0, 1, 2): os.close(fd)\n"
        "    time.sleep(600)\n"
        'print(\'{"total": 1, "bad": 0}\', flush=True)\n'
        "open('pids', 'a').write(f'{os.getpgid(0)}\\n')\n"
    )
    assert look(tmp_path, program(tmp_path, text), COUNTED).stable == Counts(total=1, bad=0)
    for group in (tmp_path / "pids").read_text().split():
        with pytest.raises(ProcessLookupError):
            _until_gone(int(group))


def test_a_program_that_never_stops_talking_is_cut(tmp_path: Path) -> None:
    text = "import os\nwhile True: os.write(1, b' ' * 65536)\n"
    assert "more than 16777216 bytes" in refused(tmp_path, program(tmp_path, text, timeout_s=120), COUNTED)


def test_a_program_that_fills_its_standard_error_is_read_to_its_last_line(tmp_path: Path) -> None:
    text = "import sys\nfor n in range(200000): print('line', n, file=sys.stderr)\nsys.exit(1)\n"
    assert "it ended with 1: line 199999" in refused(
        tmp_path, program(tmp_path, text, timeout_s=120), COUNTED
    )


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    document = CommandProvider(kind="command", command=("./nowhere; echo", "$HOME"))
    assert "./nowhere; echo cannot be started: No such file or directory" in refused(
        tmp_path, document, COUNTED
    )


def _until_ended(pid: int) -> None:
    """Returns once a process is gone, or a zombie that nobody has collected yet; what hangs would be there for minutes."""
    for _ in range(6000):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return
        if state in "ZX":
            return
        time.sleep(0.01)
    raise AssertionError(f"the process {pid} still runs")


def _until_gone(group: int) -> None:
    """Raises ProcessLookupError once a group has no process. What was killed needs a moment to be reaped."""
    for _ in range(6000):
        os.killpg(group, 0)
        time.sleep(0.01)
