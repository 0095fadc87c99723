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


@pytest.mark.parametrize(
    ("column", "why"),
    [
        ("'joe@example.com'::text", "total is text of length 15, and no number"),
        ("('joe@example' || served)::int", "DataError: invalid input syntax for type integer: …"),
        ("('[joe' || served)::jsonb::int", "DataError: invalid input syntax for type json"),
        ("'NaN'::numeric", "total is nan, and no finite number"),
        ("'infinity'::float8", "total is inf, and no finite number"),
        ("10::numeric ^ 400", "total is inf, and no finite number"),
        ("1.00000000000000000001::numeric", "total is 1, and no count"),
        ("TRUE", "total is a truth value, and no number"),
        ("NULL::int", "total is null, and no number"),
        ("'\\x00'::bytea", "total is bytes of length 1, and no number"),
        ("now()", "total is of type datetime, and no number"),
        ("'20000-01-01'::date", "the database refuses it: DataError: date too large (after year 10K): …"),
    ],
)
def test_a_value_that_is_no_count_is_told_by_what_it_is_and_not_by_what_it_says(
    url: str, monkeypatch: pytest.MonkeyPatch, column: str, why: str
) -> None:
    ask = f"SELECT {column} AS total, 0 AS bad FROM orders WHERE {WINDOW} LIMIT 1"
    with pytest.raises(MetricsUnavailable) as error:
        look(url, ask, monkeypatch)
    assert error.value.message.endswith(why)
    assert "joe" not in repr(error.value)
