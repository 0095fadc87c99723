"""When a release is where at the earliest, and what each metric needs there: by the plan, its windows, and the traffic."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from rollout.core.freeze import Freeze
from rollout.core.itinerary import Calendar, Stay, itinerary
from rollout.core.lifecycle import Phase
from rollout.core.metric import MetricSpec
from rollout.core.needs import Traffic
from rollout.core.plan import Plan
from rollout.core.window import Window

MONDAY = datetime(2026, 3, 2, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
STEPS = [
    {"share": "1%", "bake": "1h", "min_samples": 200, "requires": "no_harm"},
    {"share": "50%", "bake": "4h", "min_samples": 100},
    {"share": "100%", "bake": "1d", "min_samples": 2000},
]


def metric(**changes: Any) -> MetricSpec:
    return MetricSpec.model_validate(
        {
            "schema": "adapter-rollout/metric/v1",
            "id": "errors",
            "title": "errors",
            "kind": "rate",
            "event": "error",
            "direction": "lower_is_better",
            "max_abs": 0.01,
            "max_rate": 0.02,
            "min_samples": 100,
            "on_missing": "inconclusive",
            "stages": ["shadow", "canary", "bake"],
            **changes,
        }
    )


def way(
    *,
    per_second: float | None = None,
    rates: dict[str, float] | None = None,
    calendar: Calendar | None = None,
    first: int | None = None,
    now: datetime = MONDAY,
    spec: MetricSpec | None = None,
    **changes: Any,
) -> tuple[Stay, ...]:
    document = {
        "schema": "adapter-rollout/plan/v1",
        "name": "p",
        "steps": STEPS,
        "deadline": "3d",
        "rollback_window": "7d",
        "metrics": ["errors"],
    }
    plan = Plan.model_validate(document | changes)
    return itinerary(
        plan,
        {"errors": spec or metric()},
        alpha=0.001,
        traffic=Traffic(per_second=per_second, told_by="the test", base_rates=rates or {}),
        calendar=calendar or Calendar(),
        begins=MONDAY,
        now=now,
        first=first,
    )


def times(stays: tuple[Stay, ...]) -> list[tuple[timedelta, timedelta]]:
    return [
        (stay.begins - MONDAY, stay.ends - MONDAY)
        for stay in stays
        if stay.begins is not None and stay.ends is not None
    ]


def test_without_known_traffic_the_states_take_the_time_that_the_plan_gives_them() -> None:
    assert times(way()) == [
        (0 * HOUR, HOUR),
        (HOUR, 5 * HOUR),
        (5 * HOUR, 29 * HOUR),
        (29 * HOUR, 197 * HOUR),
    ]


def test_little_traffic_makes_a_state_as_long_as_its_requests_take() -> None:
    first = way(per_second=0.1)[0]
    assert (first.requests, first.takes) == (200, timedelta(seconds=200 / (0.1 * 0.01)))
    assert first.ends == MONDAY + timedelta(seconds=200_000)
    assert not first.late  # 2.3 of 3 days


def test_a_deadline_that_is_shorter_than_the_proof_is_late() -> None:
    assert way(per_second=0.05)[0].late
    steps = [{**STEPS[0], "deadline": "30m"}, *STEPS[1:]]
    assert way(steps=steps)[0].late
    assert not way()[0].late


def test_a_step_that_wants_no_proof_needs_samples_only_and_one_that_does_needs_more_at_a_higher_rate() -> (
    None
):
    first, second, *_ = way(rates={"errors": 0.01})
    (bare,), (proven,) = first.needs, second.needs
    assert (bare.clean, bare.usual) == (100, 100)
    assert proven.clean is not None
    assert proven.usual is not None
    assert 100 < proven.clean < proven.usual
    assert second.requests == proven.usual


def test_at_the_whole_a_rate_above_the_limit_is_never_proven_and_late() -> None:
    whole = way(rates={"errors": 0.03})[2]
    assert (whole.needs[0].usual, whole.requests, whole.late) == (None, None, True)
    assert way(rates={"errors": 0.001})[2].requests == 2000


def test_more_requests_see_less_harm() -> None:
    few, many = way(per_second=1)[1].needs[0], way(per_second=100)[1].needs[0]
    assert few.harm is not None
    assert many.harm is not None
    assert many.seen > few.seen
    assert many.harm < few.harm


def test_a_share_rises_only_in_windows_and_the_last_state_ends_in_none() -> None:
    window = Window(rule="FREQ=WEEKLY;BYDAY=MO;BYHOUR=9", duration="8h", time_zone="Europe/Berlin")
    stays = way(calendar=Calendar(windows=(window,)))
    # The window is Monday 08:00 to 16:00 UTC: the first step ends in it, the second has to wait a week.
    assert times(stays)[:2] == [(0 * HOUR, HOUR), (HOUR, 7 * 24 * HOUR - 4 * HOUR)]
    assert stays[0].opens is None
    assert stays[1].opens == datetime(2026, 3, 9, 8, tzinfo=UTC)
    assert stays[2].opens is None


def test_a_freeze_puts_off_the_beginning_and_every_rise_but_no_promotion() -> None:
    freeze = Freeze(name="fair", begins=MONDAY - HOUR, ends=MONDAY + 3 * HOUR, reason="a fair")
    whole = Freeze(name="books", begins=MONDAY + 30 * HOUR, ends=MONDAY + 99 * HOUR, reason="books")
    stays = way(calendar=Calendar(freezes=(freeze, whole)))
    assert times(stays)[0] == (3 * HOUR, 4 * HOUR)
    assert times(stays)[2] == (8 * HOUR, 32 * HOUR)


def test_a_freeze_that_begins_where_another_ends_holds_on() -> None:
    one = Freeze(name="one", begins=MONDAY - HOUR, ends=MONDAY + HOUR, reason="x")
    two = Freeze(name="two", begins=MONDAY + HOUR, ends=MONDAY + 2 * HOUR, reason="x")
    assert Calendar(freezes=(two, one)).open_from(MONDAY) == MONDAY + 2 * HOUR


def test_what_is_behind_a_release_has_no_times_and_where_it_is_does_not_end_in_the_past() -> None:
    now = MONDAY + 9 * HOUR
    stays = way(first=1, now=now)
    assert (stays[0].begins, stays[0].ends) == (None, None)
    assert (stays[1].begins, stays[1].ends) == (MONDAY, now)
    assert stays[2].begins == now


def test_in_the_rollback_window_only_it_is_left() -> None:
    *before, window = way(first=3)
    assert all(stay.begins is None for stay in before)
    assert (window.phase, window.begins) == (Phase.PROMOTED, MONDAY)


def test_a_shadow_comes_first_and_counts_its_copies() -> None:
    shadow = way(shadow={"duration": "2h", "pairs": 1000, "sample": "10%"}, per_second=1)[0]
    assert (shadow.phase, shadow.step, shadow.samples) == (Phase.SHADOW, -1, 1000)
    assert shadow.takes == timedelta(seconds=10_000)


def test_a_metric_that_is_not_required_holds_nothing_up() -> None:
    whole = way(rates={"errors": 0.5}, spec=metric(required=False))[2]
    assert whole.requests == 2000


def test_a_ring_takes_its_time_and_nobody_knows_its_traffic() -> None:
    ring = {"ring": ["a", "b"], "bake": "2h", "min_samples": 20, "requires": "no_harm"}
    first, second, *_ = way(per_second=10.0, steps=[ring, *STEPS])
    assert (first.place, first.samples, first.requests, first.takes, first.needs) == (
        "a ring of 2",
        20,
        20,
        None,
        (),
    )
    assert (first.begins, first.ends, first.late) == (MONDAY, MONDAY + timedelta(hours=2), False)
    assert (second.begins, second.place) == (first.ends, str(second.share))
