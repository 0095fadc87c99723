"""Bodies of Alertmanager's webhook: read strictly where it matters, and asked for no more than their labels allow."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.core.alert import (
    ACTING,
    LARGEST_BODY,
    MOST_ALERTS,
    AlertSettings,
    Fate,
    Request,
    Ruling,
    ask,
    read_body,
)
from rollout.core.manifest import NAME_PATTERN
from rollout.errors import Unreadable
from tests.core.factories import NOON
from tests.support.alerts import alert, body

SETTINGS = AlertSettings()


def asked(**said: Any) -> Request | Ruling:
    one = alert(**{"began": NOON, **said})
    return ask(read_body(body(one)).alerts[0], SETTINGS, "prod")


def ruling(**said: Any) -> Ruling:
    found = asked(**said)
    assert isinstance(found, Ruling)
    return found


def request(**said: Any) -> Request:
    found = asked(**said)
    assert isinstance(found, Request)
    return found


def test_what_alertmanager_documents_is_read_whole() -> None:
    found = read_body(body(alert(began=NOON), alert(began=NOON, status="resolved"), truncatedAlerts=3))
    assert (found.receiver, found.truncated, len(found.alerts)) == ("rollout", 3, 2)
    assert [each.status for each in found.alerts] == ["firing", "resolved"]
    assert found.alerts[0].starts_at == NOON
    assert found.alerts[0].annotations["runbook"] == "rollout runbook candidate-errors"


def test_times_have_the_nanoseconds_and_offsets_of_go() -> None:
    one = alert(began=NOON) | {"startsAt": "2026-03-01T13:00:00.123456789+01:00"}
    assert read_body(body(one)).alerts[0].starts_at == NOON + timedelta(microseconds=123456)


def test_fields_that_alertmanager_will_have_one_day_are_no_error() -> None:
    one = {**alert(began=NOON), "newest": [1]}
    assert read_body(body(one, notificationReason="repeat")).alerts[0].name == "RolloutCandidateErrors"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "Invalid JSON"),
        (b"{", "Invalid JSON"),
        (b"\xff\xfe", "Invalid JSON"),
        (b"[" * 100_000, "recursion limit"),
        (b"[]", "body: Input should be an object"),
        (b'{"version": "4"}', "alerts: Field required"),
        (body(version="3"), "version: Input should be '4'"),
        (body(version=4), "version: Input should be '4'"),
        (body(truncatedAlerts=-1), "truncatedAlerts: "),
        (body(alerts={}), "alerts: "),
        (body(alert(began=NOON) | {"startsAt": 0}), "alerts.0.startsAt"),
        (body(alert(began=NOON) | {"startsAt": "2026-03-01T12:00:00"}), "alerts.0.startsAt"),
        (body(alert(began=NOON) | {"startsAt": None}), "alerts.0.startsAt"),
        (body(alert(began=NOON) | {"fingerprint": "../../x"}), "alerts.0.fingerprint"),
        (body(alert(began=NOON) | {"fingerprint": ""}), "alerts.0.fingerprint"),
        (body(alert(began=NOON) | {"labels": [1]}), "alerts.0.labels"),
        (body(alert(began=NOON) | {"labels": {"adapter": 1}}), "alerts.0.labels.adapter"),
        (body(alert(began=NOON) | {"status": "suppressed"}), "alerts.0.status"),
        (body(alert(began=NOON, **{f"l{n}": "" for n in range(200)})), "alerts.0.labels"),
        (body(alert(began=NOON, summary="x" * 20_000)), "alerts.0.annotations.summary"),
        (body(*[alert(began=NOON)] * (MOST_ALERTS + 1)), "alerts: "),
        (b" " * (LARGEST_BODY + 1), "at most"),
    ],
)
def test_what_is_no_such_body_is_named_with_its_place(content: bytes, why: str) -> None:
    with pytest.raises(Unreadable, match=re.escape(why)):
        read_body(content)


@given(st.text(max_size=300))
@settings(max_examples=60)
def test_an_error_repeats_none_of_the_values(secret: str) -> None:
    marked = f"s3cr3t{secret}"
    with pytest.raises(Unreadable) as error:
        read_body(body(alert(began=NOON) | {"fingerprint": marked, "status": marked}))
    assert "s3cr3t" not in error.value.message
    assert error.value.message.isprintable()


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


@given(st.binary(max_size=200) | _JSON.map(lambda value: json.dumps(value).encode()))
def test_nothing_that_is_sent_does_more_than_be_refused(content: bytes) -> None:
    with pytest.raises(Unreadable):
        read_body(content)


@given(st.sampled_from(sorted(json.loads(body(alert(began=NOON))))), _JSON)
def test_a_body_with_one_field_of_anything_is_read_or_refused(field: str, value: object) -> None:
    sent = {**json.loads(body(alert(began=NOON))), field: value}
    refused: list[str] = []
    try:
        read_body(json.dumps(sent).encode())
    except Unreadable as error:
        refused.append(error.message)
    assert not refused or field in ("version", "alerts", "truncatedAlerts", "receiver", "groupKey")
    assert all("webhook" in message for message in refused)


@given(
    adapter=st.text(max_size=80) | st.from_regex(NAME_PATTERN),
    version=st.text(max_size=50),
    served=st.none() | st.text(max_size=400),
    environment=st.sampled_from(["prod", "prod\n", "", "staging"]) | st.text(max_size=10),
    summary=st.text(max_size=1000),
)
def test_whatever_labels_say_a_request_is_bounded_and_plain(
    adapter: str, version: str, served: str | None, environment: str, summary: str
) -> None:
    found = asked(adapter=adapter, version=version, served=served, environment=environment, summary=summary)
    if isinstance(found, Ruling):
        assert not found.acts
        assert found.why.isprintable()
        return
    assert environment == "prod"
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", found.adapter)
    assert found.about.isprintable()
    assert found.reason.isprintable()
    assert len(found.reason) <= 400
    assert not set("@#`<>") & set(found.reason)
    assert found.mark.name in ACTING


def test_only_alerts_of_the_list_ask_for_anything() -> None:
    assert ruling(name="Watchdog").fate is Fate.NOTHING
    assert "alerts.names" in ruling(name="rolloutcandidateerrors").why
    assert {asked(name=name).__class__ for name in ACTING} == {Request}


def test_the_list_and_the_labels_are_the_environments() -> None:
    own = AlertSettings(names=("TooManyTears",), adapter="app", environment="stage", served="model")
    one = alert(began=NOON, name="TooManyTears", app="bot", stage="prod", model="bot-1.1.0-abc")
    found = ask(read_body(body(one)).alerts[0], own, "prod")
    assert isinstance(found, Request)
    assert (found.adapter, found.served) == ("bot", "bot-1.1.0-abc")
    assert isinstance(ask(read_body(body(one)).alerts[0], SETTINGS, "prod"), Ruling)


def test_what_has_ended_does_nothing() -> None:
    assert ruling(status="resolved") == Ruling(fate=Fate.NOTHING, why="it has ended")


def test_another_environment_is_named() -> None:
    assert "about the environment staging; this is prod" in ruling(environment="staging").why
    assert ruling(environment="").fate is Fate.TURNED_DOWN


@pytest.mark.parametrize("adapter", ["", "Bot", "../bot", "bot\n", "-bot", "b" * 64, "bot;rm", "бот"])
def test_an_adapter_is_named_as_manifests_name_it(adapter: str) -> None:
    found = ruling(adapter=adapter)
    assert found.fate is Fate.TURNED_DOWN
    assert "is no name of an adapter" in found.why


def test_an_alert_without_a_version_may_be_about_stable_and_is_turned_down() -> None:
    assert "of which version" in ruling(version=None).why


def test_a_reason_says_which_alert_and_what_it_says() -> None:
    assert request().reason == (
        "alert RolloutCandidateErrors (critical): errors burn the budget 20 times too fast"
    )
    assert request(summary="").reason == "alert RolloutCandidateErrors (critical)"


def test_words_of_others_mention_nobody_and_close_nothing() -> None:
    said = request(summary="cc @boss\r\nRollback-Of: x\r\nfixes #7 <b>`x`</b>\x1b[2J").reason
    assert said.endswith("cc (at)boss Rollback-Of: x fixes No. 7 (b)'x'(/b) [2J")


def test_the_same_alert_sent_again_has_the_same_mark_and_a_later_one_has_not() -> None:
    assert request().mark == request(summary="other words", status="firing").mark
    assert request().mark != request(began=NOON + timedelta(seconds=1)).mark
    assert request().mark != request(instance="g1").mark
