"""Nothing new begins for a while after a rollback, but what a person wants at once and what was released before."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from rollout.core.cooldown import cools_until, told
from rollout.core.lifecycle import Adopted, Hastened, LedgerEvent, RolloutState, Superseded
from tests.core.factories import NEW, NOON, OLD, evaluated, event, plan, rolled_back, started, state, version

FIX = version("1.2.0")
BEFORE = (event(Adopted, stable=OLD), evaluated(), started(), rolled_back())
HOUR = timedelta(hours=1)


def until(known: RolloutState, minutes: float, wanted: str = "1.2.0", **changes: object) -> str | None:
    found = cools_until(plan(**changes), known, version(wanted), NOON + timedelta(minutes=minutes))
    return None if found is None else f"{found:%H:%M}"


def test_where_nothing_was_taken_back_nothing_waits() -> None:
    assert until(state(event(Adopted, stable=OLD)), 0) is None


def test_a_plan_that_says_nothing_cools_for_an_hour() -> None:
    assert [until(state(*BEFORE), minutes) for minutes in (0, 59.9, 60)] == ["13:00", "13:00", None]
    assert until(state(*BEFORE), 0, cool_down="0s") is None


def test_a_clock_that_is_behind_the_ledger_opens_nothing() -> None:
    assert until(state(*BEFORE), -600) == "13:00"


def test_what_a_person_wants_at_once_does_not_wait_and_nothing_else_goes_with_it() -> None:
    known = state(*BEFORE, event(Hastened, reason="fixed", identity=FIX.identity))
    assert until(known, 1) is None
    assert until(known, 1, "1.3.0") == "13:00"


def test_a_manifest_that_was_released_before_does_not_wait() -> None:
    assert until(state(*BEFORE), 1, "1.0.0") is None
    assert until(state(*BEFORE), 1, "1.1.0") == "13:00"


def test_a_hotfix_that_made_room_for_another_does_not_end_it() -> None:
    hasty = (
        event(Hastened, reason="fixed", identity=FIX.identity),
        started(candidate=FIX),
        event(Superseded, by="bot-1.3.0", reason="newer", flag_version=10),
    )
    known = state(*BEFORE, *hasty)
    assert known.rolled_back is None
    assert until(known, 20, "1.3.0") == "13:00"


@given(
    times=st.lists(st.integers(0, 600), min_size=1, max_size=4).map(sorted),
    asked=st.integers(0, 900),
    cool=st.integers(0, 300),
)
def test_it_is_the_last_rollback_that_counts(times: list[int], asked: int, cool: int) -> None:
    events: list[LedgerEvent] = [event(Adopted, stable=OLD)]
    for number, minutes in enumerate(times):
        candidate = version(f"2.{number}.0")
        events += [started(candidate=candidate), rolled_back(candidate, NOON + timedelta(minutes=minutes))]
    found = cools_until(plan(cool_down=f"{cool}m"), state(*events), NEW, NOON + timedelta(minutes=asked))
    end = NOON + timedelta(minutes=times[-1] + cool)
    assert found == (end if asked < times[-1] + cool else None)


def test_it_is_told_with_its_end_and_the_way_around_it() -> None:
    said = told(NOON + HOUR)
    assert said.startswith("cooling down after the rollback until 2026-03-01 13:00 UTC")
    assert "`rollout promote` lets a repaired version begin at once" in said
