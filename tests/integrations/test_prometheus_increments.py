"""Increments of counters, against what a simulated gateway had really counted."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.errors import MetricsUnavailable
from rollout.integrations.prometheus.increments import increments_alone, increments_of
from rollout.integrations.prometheus.scrapes import Scrape, Target, refuse_gaps
from rollout.integrations.prometheus.targets import Sight
from rollout.integrations.prometheus.tracks import VALUE, Point, Track

GATEWAY: Target = frozenset({("job", "gateways"), ("instance", "g0")})
# A second of a gateway's life: it counts some requests, then is scraped, missed, or begins anew.
seconds = st.lists(st.tuples(st.integers(0, 5), st.sampled_from("ssssm*")), max_size=40)


def lived(life: list[tuple[int, str]]) -> tuple[list[Scrape], Track, list[int]]:
    """(scrapes, the counter's track, what of each second was ever scraped)."""
    scrapes, points, unseen, started = [Scrape(at=0.0, started=-1.0)], list[Point](), list[int](), -1.0
    seen, count = [0] * (len(life) + 1), 0
    for at, (number, what) in enumerate(life, 1):
        count += number
        unseen.append(number)
        if what == "s":
            scrapes.append(Scrape(at=float(at), started=started))
            points += [(float(at), {VALUE: float(count)})] if count else []
            seen[at], unseen = sum(unseen), []
        elif what == "*":
            started, count, unseen = float(at), 0, []
    return scrapes, Track(labels={}, points=points), seen


@given(life=seconds)
def test_every_request_that_was_scraped_counts_once_whichever_way_time_is_divided(
    life: list[tuple[int, str]],
) -> None:
    scrapes, track, seen = lived(life)
    edges = [0.0, *(place + 0.5 for place in range(0, len(life) + 1, 3)), len(life) + 1.0]
    for since, until in itertools.pairwise(edges):
        found = increments_of(track, scrapes, since=since, until=until).get(VALUE, 0)
        assert found == sum(number for at, number in enumerate(seen) if since < at <= until)


@given(life=seconds)
def test_a_series_without_the_start_of_its_process_is_never_counted_too_high(
    life: list[tuple[int, str]],
) -> None:
    scrapes, track, seen = lived(life)
    times = [scrape.at for scrape in scrapes]
    sight = Sight(scraped=times, tried=times)
    found = increments_alone(track, sight, since=0.0, until=len(life) + 1.0)
    assert found.get(VALUE, 0) <= sum(seen)


def test_the_first_value_of_a_target_that_was_never_scraped_before_is_left_out() -> None:
    track = Track(labels={}, points=[(10.0, {VALUE: 700.0}), (11.0, {VALUE: 703.0})])
    assert increments_alone(track, Sight(scraped=[10.0, 11.0]), since=5.0, until=20.0) == {VALUE: 3}
    before = Sight(scraped=[9.0, 10.0, 11.0])
    assert increments_alone(track, before, since=5.0, until=20.0) == {VALUE: 703}


def up(*times: float) -> Track:
    return Track(labels=dict(GATEWAY), points=[(at, {VALUE: 0.0}) for at in times])


def test_a_process_that_ended_while_nobody_tried_to_scrape_it_has_lost_its_counts() -> None:
    scrapes = [Scrape(at=float(at), started=0.0) for at in range(0, 100, 10)]
    scrapes += [Scrape(at=float(at), started=395.0) for at in range(400, 450, 10)]
    with pytest.raises(
        MetricsUnavailable, match="began anew after 310 s in which Prometheus did not scrape it"
    ):
        refuse_gaps({GATEWAY: scrapes}, [], since=50.0, until=440.0)
    # It was tried and did not answer, so that it was away; and what was before the look is not its business.
    refuse_gaps({GATEWAY: scrapes}, [up(200.0)], since=50.0, until=440.0)
    refuse_gaps({GATEWAY: scrapes}, [], since=410.0, until=440.0)


def test_a_gateway_that_was_running_and_unseen_when_the_look_began_is_an_error() -> None:
    known = [Scrape(at=float(at), started=0.0) for at in range(0, 200, 10)]
    late = [Scrape(at=float(at), started=20.0) for at in range(110, 200, 10)]
    other: Target = frozenset({("job", "gateways"), ("instance", "g1")})
    with pytest.raises(MetricsUnavailable, match="knows nothing of gateway g1 from before the look"):
        refuse_gaps({GATEWAY: known, other: late}, [], since=100.0, until=190.0)
    # One that began just before the look was not scraped yet: no look has counted it.
    young = [Scrape(at=each.at, started=95.0) for each in late]
    refuse_gaps({GATEWAY: known, other: young}, [], since=100.0, until=190.0)
    # Alone it tells nobody that Prometheus was there before.
    with pytest.raises(MetricsUnavailable, match="knows nothing of gateway g1"):
        refuse_gaps({other: young}, [], since=100.0, until=190.0)


def test_scrapes_a_quarter_of_an_hour_apart_are_not_old_after_a_minute() -> None:
    scrapes = [Scrape(at=float(at), started=0.0) for at in range(0, 3000, 900)]
    refuse_gaps({GATEWAY: scrapes}, [], since=1000.0, until=4000.0)
    with pytest.raises(MetricsUnavailable, match="has scraped no gateway for 4300 s"):
        refuse_gaps({GATEWAY: scrapes}, [], since=1000.0, until=7000.0)
