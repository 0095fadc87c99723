"""A small and fixed part of the benchmark: false alarms, false proofs and delays of days that are watched all the time.

F11: whoever looks 288 times a day at a fixed threshold, or at a p-value, takes back a third of what is good and more.
The whole of it, beside the rules of others, is `python -m tests.benchmarks.judge`.
"""

from __future__ import annotations

import numpy as np
import pytest

from rollout.core.forecast import Outlook, detectable_harm, requests_to_prove
from rollout.core.metric import MetricSpec
from rollout.core.plan import Share
from tests.core.judging import latency, rate
from tests.support.scored import Scoring, found_worse, means_of, pairs_of_users
from tests.support.sticky import Sticky, failing
from tests.support.watched import (
    NEVER,
    Draw,
    Latencies,
    Look,
    Tally,
    first_crossing,
    harm_process,
    latencies,
    proof_process,
    rates,
    scaled,
    shaped,
    tailed,
)

ALPHA, DAY = 0.05, 288
EVEN, FIVE, HALF = scaled(1.0), Look(), Look(stable=1000, candidate=1000)


def within_alpha(crossed: Tally) -> bool:
    """At most alpha of them, and two standard errors."""
    return bool((crossed < NEVER).mean() <= ALPHA + 2 * (ALPHA * (1 - ALPHA) / len(crossed)) ** 0.5)


def slow(
    seed: int,
    runs: int,
    looks: int,
    arm: Draw,
    *,
    quantiles: tuple[float, ...] = (0.5, 0.95),
    look: Look = FIVE,
) -> Tally:
    generator = np.random.default_rng(seed)
    return first_crossing(
        latencies(generator, [look] * looks, (EVEN, arm), Latencies(runs, quantiles)), ALPHA
    )


@pytest.mark.parametrize("base", [0.001, 0.01, 0.2])
@pytest.mark.parametrize("look", [FIVE, HALF, Look(stable=95, candidate=5)], ids=str)
def test_a_day_of_equal_error_rates_is_rarely_called_harm(base: float, look: Look) -> None:
    told = [(look, base, base)] * DAY
    assert within_alpha(first_crossing(rates(np.random.default_rng(3), 400, told, harm_process(400)), ALPHA))


def test_shares_that_change_and_rates_that_drift_are_nobodys_harm() -> None:
    """F11, F15: each look is a stratum, so that nothing is pooled over shares or hours."""
    told = [
        (Look(stable=2000 - own, candidate=own), rate_, rate_)
        for own, rate_ in [(100, 0.01)] * 96 + [(500, 0.05)] * 96 + [(1000, 0.02)] * 96
    ]
    assert within_alpha(first_crossing(rates(np.random.default_rng(4), 400, told, harm_process(400)), ALPHA))


@pytest.mark.parametrize("spread", [0.4, 0.6, 0.9])
def test_a_day_of_times_with_the_same_tail_is_rarely_called_harm(spread: float) -> None:
    look = Look(stable=190, candidate=10)
    assert within_alpha(slow(5, 200, DAY, shaped(spread), quantiles=(0.95,), look=look))


@pytest.mark.parametrize(
    ("arm", "most"), [(scaled(1.1), 720), (scaled(1.25), 300), (scaled(1.5), 200), (tailed(1.25), 500)]
)
def test_slower_answers_are_found_as_soon_as_was_measured(arm: Draw, most: int) -> None:
    """Medians of the fact sheet (600, 200, 100 and 400 requests), and a fifth or one look more."""
    assert np.median(slow(6, 60, 60, arm)) * 100 <= most


@pytest.mark.parametrize(("own", "most"), [(0.02, 1200), (0.05, 300)])
def test_errors_are_found_as_soon_as_was_measured(own: float, most: int) -> None:
    told = [(FIVE, 0.01, own)] * DAY
    found = first_crossing(rates(np.random.default_rng(7), 400, told, harm_process(400)), ALPHA)
    assert np.median(found) * 100 <= most


def test_what_is_just_as_bad_as_accepted_is_rarely_proven_to_be_no_worse() -> None:
    told = [(FIVE, 0.01, 0.0198)] * DAY
    odds = rates(np.random.default_rng(8), 400, told, proof_process(400, 2.0))
    assert within_alpha(first_crossing(odds, ALPHA))
    watched = Latencies(60, accepted=1.2)
    tail = latencies(np.random.default_rng(9), [FIVE] * 40, (EVEN, tailed(1.2)), watched, proof=True)
    assert within_alpha(first_crossing(tail, ALPHA))


@pytest.mark.parametrize(("share", "base"), [("5%", 0.01), ("50%", 0.01), ("25%", 0.05)])
def test_the_forecast_of_a_proof_by_odds_is_about_what_half_of_the_releases_need(
    share: str, base: float
) -> None:
    part = Share.parse(share)
    own = round(2000 * part.fraction)
    told = [(Look(stable=2000 - own, candidate=own), base, base)] * 150
    proven = first_crossing(rates(np.random.default_rng(10), 300, told, proof_process(300, 2.0)), ALPHA)
    forecast = requests_to_prove(rate(max_odds=2), part, alpha_advance=ALPHA, outlook=Outlook(base_rate=base))
    assert forecast == pytest.approx(float(np.median(proven)) * own, rel=0.3, abs=own)


def test_the_forecast_of_a_proof_of_times_is_about_what_half_of_the_releases_need() -> None:
    watched = Latencies(100, accepted=1.2)
    looks = latencies(np.random.default_rng(11), [FIVE] * 60, (EVEN, EVEN), watched, proof=True)
    forecast = requests_to_prove(latency(), Share.parse("5%"), alpha_advance=ALPHA)
    assert forecast == pytest.approx(float(np.median(first_crossing(looks, ALPHA))) * 100, rel=0.35, abs=100)


@pytest.mark.parametrize("spec", [rate(max_odds=2), latency()], ids=lambda spec: spec.id)
def test_the_harm_that_a_step_is_said_to_show_is_shown_by_half_of_the_releases(spec: MetricSpec) -> None:
    requests, outlook = 1000, Outlook(base_rate=0.01)
    harm = detectable_harm(spec, Share.parse("5%"), requests, alpha=ALPHA, outlook=outlook)
    assert harm is not None
    generator = np.random.default_rng(12)
    if spec.id == "wait":
        watched = Latencies(100, tolerated=1.05)
        found = first_crossing(latencies(generator, [FIVE] * 10, (EVEN, scaled(harm)), watched), ALPHA)
    else:
        told = [(FIVE, 0.01, harm)] * 10
        found = first_crossing(rates(generator, 400, told, harm_process(400, 1.25)), ALPHA)
    assert 0.35 <= (found < NEVER).mean() <= 0.85


@pytest.mark.parametrize(("always", "others"), [(20, 0.0), (20, 0.01), (1, 0.0), (1, 0.01)])
def test_users_who_fail_in_every_look_take_back_no_more_than_alpha(always: int, others: float) -> None:
    """They stay in the arm that they were dealt to: each is one of them, at whatever look."""
    users = Sticky(np.random.default_rng(5), 100, failing(always, others))
    assert within_alpha(first_crossing(users.looks(rate(tolerance=1.0), 60), ALPHA))
    blind = Sticky(np.random.default_rng(5), 100, failing(always, others))
    unknown = first_crossing(blind.looks(rate(tolerance=1.0, design_effect=1), 60), ALPHA)
    assert always == 1 or not within_alpha(unknown), "or this would show nothing"


def test_harm_is_found_as_soon_among_users_who_ask_again_and_again() -> None:
    users = Sticky(np.random.default_rng(6), 100, failing(0, 0.01), failing(0, 0.05))
    assert np.median(first_crossing(users.looks(rate(tolerance=1.0), 30), ALPHA)) <= 3


@pytest.mark.parametrize(
    "users", [pairs_of_users, means_of(60, 20)], ids=["pairs", "means, one score in each look"]
)
def test_users_who_score_low_in_every_look_take_back_no_more_than_alpha(users: Scoring) -> None:
    """Identical candidates, and pairs as good on average: 30 % of what their scores vary by is the user's."""
    unknown, known = found_worse(np.random.default_rng(7), 60, users, 0.3, 0.0, alpha=ALPHA)
    assert within_alpha(known)
    assert not within_alpha(unknown), "or this would show nothing"


@pytest.mark.parametrize("users", [pairs_of_users, means_of(300, 100)], ids=["pairs", "means"])
def test_a_loss_is_found_as_soon_where_users_do_not_differ(users: Scoring) -> None:
    unknown, known = found_worse(np.random.default_rng(8), 30, users, 0.0, -0.05, alpha=ALPHA)
    assert np.median(known) <= np.median(unknown) + 1
