"""A metric of a real PostgreSQL: values are bound, nothing is written, and what takes too long is broken off."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rollout.core.environment import SqlProvider
from rollout.core.metric import Comparison, Counts, Samples, Stage
from rollout.errors import MetricsUnavailable
from rollout.integrations.providers import provider_metrics
from tests.contracts.test_metric_provider import metric
from tests.support.postgres import missing, postgres

pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")

CANDIDATE = "b'; DROP TABLE orders --"
COMPARISON = Comparison(name="shop", stable="a", candidate=CANDIDATE, stage=Stage.CANARY)
WINDOW = "served = :served AND at > to_timestamp(:since) AND at <= to_timestamp(:until)"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    import psycopg

    with postgres("shopkeeper", "very-secret") as url:
        with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute("CREATE TABLE orders (served text, bad bigint, at timestamptz)")
            with connection.cursor() as cursor:
                cursor.executemany(
                    "INSERT INTO orders VALUES (%s, %s, to_timestamp(%s))",
                    [("a", 0, 150), ("a", 1, 200), ("a", 1, 201), (CANDIDATE, 1, 200)],
                )
            connection.execute(
                "CREATE FUNCTION spoil() RETURNS int LANGUAGE sql AS 'DELETE FROM orders RETURNING 1'"
            )
        yield url


def look(url: str, ask: str, monkeypatch: pytest.MonkeyPatch, timeout_s: float = 30) -> Samples:
    monkeypatch.setenv("SHOP_URL", url)
    document = SqlProvider(kind="sql", url_env="SHOP_URL", timeout_s=timeout_s)
    spec = metric("rate", {"provider": "shop", "ask": ask, "total": "total", "bad": "bad"})
    return provider_metrics("shop", document, Path()).samples(spec, COMPARISON, since="100", until="200")


def test_each_arm_is_counted_by_its_name_whatever_letters_that_has(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = f"SELECT count(*) AS total, sum(bad) AS bad FROM orders WHERE {WINDOW} AND '10%:x'::text <> ''"
    seen = look(url, ask, monkeypatch)
    assert (seen.stable, seen.candidate) == (Counts(total=2, bad=1), Counts(total=1, bad=1))


def test_a_function_that_writes_is_refused_by_the_transaction(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MetricsUnavailable, match="read-only transaction"):
        look(url, f"SELECT spoil() AS total, 0 AS bad FROM orders WHERE {WINDOW}", monkeypatch)
    ask = f"SELECT count(*) AS total, 0 AS bad FROM orders WHERE {WINDOW}"
    assert look(url, ask, monkeypatch).stable == Counts(total=2, bad=0)


def test_what_takes_too_long_is_broken_off(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = f"SELECT count(*) AS total, 0 AS bad FROM (SELECT pg_sleep(600)) AS slow, orders WHERE {WINDOW}"
    with pytest.raises(MetricsUnavailable, match=r"it took longer than 2 s|statement timeout"):
        look(url, ask, monkeypatch, timeout_s=2)


@pytest.mark.parametrize(
    "change",
    [("very-secret", "wrong-secret"), ("shopkeeper", "burglar-secret"), ("/postgres", "/other-secret")],
)
def test_a_database_that_lets_nobody_in_is_unreachable_and_its_address_is_not_shown(
    url: str, monkeypatch: pytest.MonkeyPatch, change: tuple[str, str]
) -> None:
    with pytest.raises(MetricsUnavailable) as error:
        look(url.replace(*change), f"SELECT 1 AS total, 0 AS bad FROM orders WHERE {WINDOW}", monkeypatch)
    assert error.value.message.endswith("it cannot be reached: OperationalError")
    assert "secret" not in repr(error.value)


def test_what_the_database_says_of_a_statement_is_told(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MetricsUnavailable, match='the database refuses it: column "nothing" does not exist'):
        look(url, f"SELECT nothing AS total, 0 AS bad FROM orders WHERE {WINDOW}", monkeypatch)
