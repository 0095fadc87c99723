"""An alert takes back what is under way, once: late, repeated and foreign ones do nothing."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.core.alert import AlertSettings, Fate, Request, Ruling, ask, read_body
from rollout.core.alertruling import rule
from rollout.core.lifecycle import (
    Adopted,
    Anchored,
    LedgerEntry,
    LedgerEvent,
    Retried,
    Reverted,
    RolledBack,
    Started,
    Verified,
    fold,
)
from tests.core.factories import (
    NEW,
    NOON,
    OLD,
    SHA,
    chain,
    evaluated,
    event,
    later,
    promoted,
    settled,
    settling,
    shift,
    started,
    version,
)
from tests.support.alerts import alert, body

NOW = later(hours=2)
FIVE_PAST, SIX_PAST = later(minutes=5), later(minutes=6)
ADOPTED = event(Adopted, stable=OLD)
RELEASED = (ADOPTED, evaluated(), started(), *shift(0, "10%"))
FULL = (*RELEASED, *shift(1, "50%"), *shift(2, "100%"), promoted())


def request(began: datetime = FIVE_PAST, **said: Any) -> Request:
    found = ask(read_body(body(alert(**{"began": began, **said}))).alerts[0], AlertSettings(), "prod")
    assert isinstance(found, Request)
    return found


def ruled(*events: LedgerEvent, asked: Request | None = None, now: datetime = NOW) -> Ruling:
    return of(chain(*events), asked=asked, now=now)


def of(entries: tuple[LedgerEntry, ...], *, asked: Request | None = None, now: datetime = NOW) -> Ruling:
    return rule(asked or request(), fold(entries), entries, environment="prod", now=now)


def taken_back(by: Request | None, at: datetime = SIX_PAST) -> LedgerEvent:
    return event(
        RolledBack,
        at,
        reason="alert",
        automatic=True,
        alert=None if by is None else by.mark,
        bad=NEW,
        from_share="10%",
        flag_version=9,
        flag_written_at=at,
    )


DONE = (
    event(Reverted, later(minutes=7), commit="d" * 40, branch="main"),
    event(Verified, later(minutes=7), last_routed_s=0, drained_s=0, verified_s=0.1),
)


@pytest.mark.parametrize("events", [RELEASED[:3], RELEASED, FULL, (*FULL, settling())])
def test_what_is_under_way_is_taken_back(events: tuple[LedgerEvent, ...]) -> None:
    assert ruled(*events).fate is Fate.TAKES_BACK


@pytest.mark.parametrize(
    "labels",
    [
        {"version": "1.1.0"},
        {"version": NEW.served_name},
        {"version": None, "served": NEW.served_name},
        {"version": "1.1.0", "served": NEW.served_name},
    ],
)
def test_the_version_is_named_by_its_number_or_by_its_served_name(labels: dict[str, Any]) -> None:
    assert ruled(*RELEASED, asked=request(**labels)).acts


@pytest.mark.parametrize(
    "labels",
    [
        {"version": "1.2.0"},
        {"version": "1.1"},
        {"version": "1.1.0", "served": "bot-1.1.0-000000000000"},
        {"version": "1.2.0", "served": NEW.served_name},
    ],
)
def test_another_version_than_the_one_under_way_is_turned_down(labels: dict[str, Any]) -> None:
    found = ruled(*RELEASED, asked=request(**labels))
    assert found.fate is Fate.TURNED_DOWN
    assert f"{NEW.served_name} is under way" in found.why


@pytest.mark.parametrize("events", [(ADOPTED,), RELEASED])
def test_stable_is_never_taken_back_and_a_person_is_told_how(events: tuple[LedgerEvent, ...]) -> None:
    found = ruled(*events, asked=request(version="1.0.0"))
    assert found.fate is Fate.TURNED_DOWN
    assert "`rollout rollback bot -e prod --to VERSION --reason TEXT`" in found.why


def test_a_candidate_that_has_settled_is_stable() -> None:
    assert ruled(*FULL, settling(), settled()).fate is Fate.TURNED_DOWN


def test_an_adapter_that_the_ledger_does_not_know_is_turned_down() -> None:
    assert "knows no adapter bot" in ruled().why


def test_nothing_under_way_is_nothing_to_do() -> None:
    assert ruled(ADOPTED) == Ruling(fate=Fate.NOTHING, why="nothing is under way")


def test_an_alert_of_before_the_release_does_nothing() -> None:
    found = ruled(*RELEASED, asked=request(NOON - timedelta(seconds=1)))
    assert found.fate is Fate.NOTHING
    assert "before this release" in found.why
    assert ruled(*RELEASED, asked=request(NOON)).acts


def test_an_alert_of_before_the_last_rollback_does_nothing() -> None:
    found = ruled(*RELEASED, taken_back(None), asked=request(later(minutes=5)))
    assert found.fate is Fate.NOTHING
    assert "before the last rollback" in found.why


def test_an_alert_from_the_future_is_turned_down() -> None:
    assert ruled(*RELEASED, asked=request(NOW + timedelta(minutes=4))).acts
    found = ruled(*RELEASED, asked=request(NOW + timedelta(minutes=6)))
    assert found.fate is Fate.TURNED_DOWN
    assert "clocks differ" in found.why


def test_an_alert_acts_once() -> None:
    found = ruled(*RELEASED, taken_back(request()), *DONE)
    assert found == Ruling(fate=Fate.NOTHING, why="this alert has taken it back before")


def test_a_rollback_that_was_cut_off_is_finished_by_the_same_alert_and_by_no_other() -> None:
    cut = (*RELEASED, taken_back(request()))
    assert ruled(*cut).fate is Fate.FINISHES
    assert ruled(*cut, DONE[0]).fate is Fate.FINISHES
    assert ruled(*cut, asked=request(instance="g1")).fate is Fate.NOTHING


def test_a_version_that_a_person_lets_begin_again_is_safe_from_the_old_alert() -> None:
    ahead = request(later(minutes=9))  # by a clock that is ahead: the mark is what keeps it from acting again
    again = (
        *RELEASED,
        taken_back(ahead),
        *DONE,
        event(Retried, later(minutes=7), identity=NEW.identity, reason="fixed the server"),
        started(at=later(minutes=8)),
    )
    assert ruled(*again, asked=ahead).why == "this alert has taken it back before"
    assert ruled(*again, asked=request(later(minutes=5))).fate is Fate.NOTHING
    assert ruled(*again, asked=request(later(minutes=10))).acts


def test_what_was_compacted_is_remembered() -> None:
    before = chain(*RELEASED, taken_back(request()), *DONE)
    anchored = event(Anchored, NOW, entries=len(before), archive=SHA, state=fold(before))
    entry = LedgerEntry(seq=len(before), previous=before[-1].hash, event=anchored)
    assert "has taken it back before" in of((LedgerEntry.parse(entry.line),)).why


def test_a_rollback_without_an_alert_is_written_as_it_always_was() -> None:
    assert "alert" not in taken_back(None).model_dump(mode="json")
    told = taken_back(request()).model_dump(mode="json")["alert"]
    assert set(told) == {"name", "fingerprint", "began"}


_MINUTES = st.integers(min_value=-100, max_value=200)


@given(began=_MINUTES, release=st.integers(0, 60), again=st.integers(61, 119), replays=st.integers(1, 3))
def test_however_often_a_body_comes_it_takes_back_at_most_the_release_that_it_was_about(
    began: int, release: int, again: int, replays: int
) -> None:
    asked = request(NOON + timedelta(minutes=began))
    events: list[LedgerEvent] = [ADOPTED, evaluated(), started(at=later(minutes=release))]
    acted = 0
    for _ in range(replays):
        if ruled(*events, asked=asked).fate is Fate.TAKES_BACK:
            acted += 1
            events += [taken_back(asked, later(minutes=60)), *DONE]
    assert acted == (release <= began <= 125)
    if acted:
        events.append(event(Retried, later(minutes=60), identity=NEW.identity, reason="once more"))
        events.append(started(at=later(minutes=again)))
        assert not ruled(*events, asked=asked).acts


def test_other_versions_are_other_bytes() -> None:
    newer = version("1.2.0")
    events = (*RELEASED, taken_back(request()), *DONE, evaluated(newer), started(candidate=newer, at=NOW))
    assert isinstance(events[-1], Started)
    assert not ruled(*events, now=later(hours=3)).acts
    assert ruled(*events, asked=request(NOW, version="1.2.0"), now=later(hours=3)).acts
