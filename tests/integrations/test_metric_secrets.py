"""What a provider is asked with, and what it holds of anybody: neither stands in what is said when it fails."""

from __future__ import annotations

import json
import sqlite3
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

from rollout.core.environment import CommandProvider, SqlProvider
from rollout.core.metric import MetricSpec
from rollout.integrations.providers.answer import Unanswered, number
from rollout.integrations.providers.hidden import of_data, without
from tests.contracts.test_metric_provider import metric
from tests.integrations.test_metric_providers import FILES, RATE, WINDOW, http, refused, service, sql

KEY = "begin/se cret+of%2Fthe=judge&end"
PEM = "-----BEGIN KEY-----\nline-one-of-it\nline-two-of-it\n-----END KEY-----"


def judge(root: Path, monkeypatch: pytest.MonkeyPatch, program: str, key: str = KEY) -> str:
    """What is said of a program that was given a key and fails."""
    (root / "judge.py").write_text(
        f"import json, os, sys, urllib.parse\nkey = os.environ['JUDGE_KEY']\n{program}\n"
    )
    monkeypatch.setenv("JUDGE_KEY", key)
    document = CommandProvider(
        kind="command", command=(sys.executable, "judge.py"), environment=("JUDGE_KEY",), timeout_s=60
    )
    spec = metric("rate", {"provider": "shop", "total": "/total", "bad": "/bad"})
    return refused(root, document, spec)


@pytest.mark.parametrize(
    "said",
    [
        "'cannot log in with ' + key",
        "'x' * 190 + key",
        "'x' * 3900 + '\\n' + 'x' * 150 + key",
        "'GET /?key=' + urllib.parse.quote(key, safe='')",
        "'GET /?key=' + urllib.parse.quote_plus(key).lower()",
        "'GET /?key=' + urllib.parse.unquote(key)",
        "json.dumps({'key': key})",
        "repr(key)",
    ],
)
def test_a_key_is_hidden_before_what_was_said_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    message = judge(tmp_path, monkeypatch, f"sys.exit({said})")
    assert "it ended with 1: " in message
    assert "***" in message
    for part in ("begin", "cret", "judge", "end"):
        assert part not in message.partition("it ended with 1: ")[2]


@pytest.mark.parametrize("after", [4096, 4090, 4070])
def test_no_part_of_a_key_is_left_where_the_end_of_a_long_complaint_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """Only the end of what it says is kept, which here begins in the middle of the key."""
    said = f"'x' * 99999 + key + 'x' * {after - 1}"
    assert judge(tmp_path, monkeypatch, f"sys.exit({said})").endswith(": a line that is too long to be shown")
    said = f"'x' * 99999 + key + 'x' * {after - 10} + chr(10) + 'no luck'"
    assert judge(tmp_path, monkeypatch, f"sys.exit({said})").endswith(": no luck")


@pytest.mark.parametrize("line", ["key.splitlines()[1]", "key.splitlines()[-1]", "json.dumps(key)", "key"])
def test_of_a_key_of_several_lines_none_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    message = judge(tmp_path, monkeypatch, f"sys.exit('it says ' + {line})", PEM)
    assert "***" in message
    assert "line-" not in message
    assert "KEY---" not in message


def test_what_is_short_hides_nothing_and_nothing_hides_nothing() -> None:
    assert without(["", "1", "eu"], "region eu has 1 error") == "region eu has 1 error"


@pytest.mark.parametrize("password", ["p@ss/w:rd+ %", "pässwörd", "päss%2Fword", "secret word"])
@pytest.mark.parametrize("encoded", [True, False])
def test_the_password_of_a_database_is_hidden_however_it_is_written(
    monkeypatch: pytest.MonkeyPatch, password: str, encoded: bool
) -> None:
    from sqlalchemy import make_url

    from rollout.integrations.providers.sqldatabase import _said

    account = quote(password, safe="") if encoded else password.replace("@", "%40").replace("/", "%2F")
    url = f"postgresql+psycopg://keeper:{account}@db.example.com/shop?sslpassword=other-secret"
    address = make_url(url)
    for said in (
        url,
        account,
        account.lower(),
        f"x{'y' * 290}{address.password}",
        "no other-secret",
        address.password,
    ):
        shown = _said(_Refusal(str(said)), url, address)
        for part in (account, str(address.password), "p@ss", "päss", "other-secret", "keeper", "db.example"):
            assert part not in shown
        assert "***" in shown


@pytest.mark.parametrize(
    "password", ["sesame4711471147", "sesam9'tail", 'sesam9"tail', "sesam9`tail", "sesam\ntail"]
)
@pytest.mark.parametrize("length", [0, 280, 290, 297])
def test_no_part_of_a_password_is_left_where_an_error_about_data_is_cut(password: str, length: int) -> None:
    """It ends where the data begin, and a password may look like data from its middle on."""
    from sqlalchemy import URL
    from sqlalchemy.exc import DataError

    from rollout.integrations.providers.sqldatabase import _said

    address = URL.create("postgresql+psycopg", "keeper", password, "db.example.com", database="shop")
    url = address.render_as_string(hide_password=False)
    for said in (password, url):
        told = Exception("x" * length + " " + said + " of 'joe'")
        shown = _said(DataError("SELECT 1", {}, told), url, address)
        assert shown.startswith("DataError: x" if length else "DataError: ")
        for part in ("sesam", "tail", "4711", "keeper", "db.example", "joe"):
            assert part not in shown


def test_a_value_stays_hidden_though_a_secret_stood_before_it() -> None:
    from sqlalchemy import make_url
    from sqlalchemy.exc import DataError

    from rollout.integrations.providers.sqldatabase import _said

    url = "postgresql+psycopg://keeper:sesame@db.example.com/shop"
    error = DataError("SELECT 1", {}, Exception('sesame is no number: "joe"'))
    assert _said(error, url, make_url(url)) == "DataError: *** is no number: …"


class _Refusal(Exception):
    """What SQLAlchemy raises, with what the driver had said."""

    def __init__(self, said: str) -> None:
        super().__init__(said)
        self.orig = Exception(said)


PERSON = "joe.public@example.com"


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (PERSON, "text of length 22"),
        (4929123412341234, "about 5e+15"),
        (-4915123456789, "about -5e+12"),
        ([PERSON], "a list"),
        ({PERSON: 1}, "an object"),
    ],
)
def test_of_an_answer_what_it_is_is_told_and_not_what_it_says(
    tmp_path: Path, value: object, why: str
) -> None:
    with service(json.dumps({"total": value, "bad": 0}).encode()) as url:
        message = refused(tmp_path, http(url), metric("rate", RATE))
    assert f"/total is {why}, and no" in message
    assert PERSON not in message
    assert not any(word in message for word in ("4929", "4915"))


@pytest.mark.parametrize("kind", ["latency", "score"])
def test_a_number_of_somebodys_in_the_place_of_a_time_or_a_score_is_told_by_its_size(
    tmp_path: Path, kind: str
) -> None:
    spec: MetricSpec = metric(kind, {"provider": "shop", "ask": RATE["ask"], "values": "/all"})
    with service(b'{"all": [-4915123456789]}') as url:
        message = refused(tmp_path, http(url), spec)
    assert "-5e+12" in message
    assert "4915" not in message


@pytest.mark.parametrize(
    "column",
    [
        "total::INT AS total",
        "strptime(total, '%Y') AS total",
        "CASE WHEN total = '3' THEN 1 ELSE CAST(total AS INT) END AS total",
    ],
)
def test_a_row_that_duckdb_cannot_read_is_not_shown(tmp_path: Path, column: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/orders.csv").write_text(f"served,total\na,3\na,{PERSON}\n")
    ask = f"SELECT {column}, 0 AS bad FROM read_csv('orders.csv', all_varchar = true) WHERE {WINDOW}"
    message = refused(tmp_path, FILES, sql(ask))
    assert "DuckDB refuses it: " in message
    assert "Error" in message
    assert "joe" not in message


def test_a_line_of_a_csv_that_does_not_fit_is_not_shown_nor_where_the_folder_is(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/orders.csv").write_text(f"served,total\na,3\na,{PERSON}\n")
    table = "read_csv('orders.csv', columns = {'served': 'VARCHAR', 'total': 'INT'})"
    message = refused(tmp_path, FILES, sql(f"SELECT total, 0 AS bad FROM {table} WHERE {WINDOW}"))
    assert message.endswith("DuckDB refuses it: Conversion Error: CSV Error on Line: 3")
    message = refused(tmp_path, FILES, sql(f"SELECT total, 0 AS bad FROM 'none.csv' WHERE {WINDOW}"))
    assert message.endswith('No files found that match the pattern "none.csv"')


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ('invalid input syntax for type integer: "joe"\nCONTEXT: joe', "invalid input syntax for type integer: …"),
        ('invalid input syntax for type json\nDETAIL: Token "joe"', "invalid input syntax for type json"),
        ("Overflow in addition of INT128 (49151234567 + 1)!", "Overflow in addition of INT128 ( …"),
        ('could not parse "joe', "could not parse …"),
        ("division by zero", "division by zero"),
        ("it can't be done", "it can't be done"),
    ],
)  # fmt: skip
def test_an_error_about_data_ends_before_the_data(said: str, shown: str) -> None:
    assert of_data(said) == shown


def test_the_columns_that_came_back_are_counted_and_not_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file without a header has somebody's values for names."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/orders.csv").write_text(f"{PERSON},other\na,3\n")
    ask = "SELECT *, 1 AS served FROM 'orders.csv' WHERE '' < :served AND :since < :until"
    message = refused(tmp_path, FILES, sql(ask))
    assert message.endswith("the column total is not among the 3 that came back")


def test_rows_of_sqlite_are_read_by_the_letter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite takes anything in any column."""
    path = tmp_path / "orders.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE orders (total INTEGER)")
        connection.execute("INSERT INTO orders VALUES (?)", [PERSON])
    connection.close()
    monkeypatch.setenv("SHOP_URL", f"sqlite:///{path}")
    document = SqlProvider(kind="sql", url_env="SHOP_URL")
    ask = "SELECT {} AS total, 0 AS bad FROM orders WHERE :served > '' AND :until > :since"
    for value, why in (
        ("total", "text of length 22, and no number"),
        ("x'00ff'", "bytes of length 2, and no number"),
        ("9e999", "inf, and no finite number"),
        ("9223372036854775807", "about 9e+18, and no count"),
        ("NULL", "null, and no number"),
    ):
        assert refused(tmp_path, document, sql(ask.format(value))).endswith(f"total is {why}")


def test_a_decimal_that_is_no_number_is_none() -> None:
    from decimal import Decimal

    for text in ("NaN", "sNaN", "Infinity", "1e999"):
        with pytest.raises(Unanswered, match="and no finite number"):
            number(Decimal(text), "total")
