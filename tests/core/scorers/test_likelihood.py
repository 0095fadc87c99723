"""Likelihoods: surprise and distance, never above the true distance, never a number made of NaN."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, fsum, inf, log, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.core.scorers.likelihood import Top, kl, score, surprise


@dataclass(frozen=True)
class Read:
    logprobs: tuple[float, ...]
    top: tuple[Top, ...] = ()


def distribution(weights: list[float]) -> list[float]:
    return [weight / fsum(weights) for weight in weights]


def listed(chances: list[float], most: int) -> Top:
    ranked = sorted(enumerate(chances), key=lambda each: -each[1])[:most]
    return tuple((token, log(chance)) for token, chance in ranked)


def test_surprise_is_the_mean_over_tokens() -> None:
    assert surprise(Read((-1.0, -3.0))) == {"nll": 2.0, "perplexity": pytest.approx(exp(2))}


@pytest.mark.parametrize("logprobs", [(), (nan,), (-1.0, -inf)])
def test_what_is_not_finite_has_no_value(logprobs: tuple[float, ...]) -> None:
    assert score(Read(logprobs)) == {}


def test_a_perplexity_that_is_no_number_is_left_out() -> None:
    assert surprise(Read((-5000.0,))) == {"nll": 5000.0}


WEIGHTS = st.lists(st.floats(0.001, 1000), min_size=12, max_size=12)


@given(WEIGHTS, WEIGHTS, st.integers(1, 12))
def test_the_distance_is_never_above_the_true_one(one: list[float], other: list[float], most: int) -> None:
    p, q = distribution(one), distribution(other)
    true = fsum(a * log(a / b) for a, b in zip(p, q, strict=True))
    found = kl(Read((-1.0,), (listed(p, most),)), Read((-1.0,), (listed(q, most),)))
    assert found is not None
    assert 0 <= found <= true + 2e-6
    if most == 12:
        assert found == pytest.approx(true, abs=1e-4)


@given(WEIGHTS)
def test_nobody_is_far_from_himself(weights: list[float]) -> None:
    reading = Read((-1.0,), (listed(distribution(weights), 5),))
    assert kl(reading, reading) == pytest.approx(0, abs=1e-9)


def test_the_distance_is_the_mean_over_tokens() -> None:
    sure, even = ((0, log(0.999999)),), ((0, log(0.5)),)
    one, other = Read((-1.0, -1.0), (sure, even)), Read((-1.0, -1.0), (even, even))
    assert kl(one, other) == pytest.approx(log(2) / 2, abs=1e-4)


@pytest.mark.parametrize(
    "other",
    [
        Read((-1.0,)),
        Read((-1.0, -1.0), (((0, -0.1),), ((0, -0.1),))),
        Read((-1.0,), (((0, nan),),)),
        Read((-1.0,), (((0, 0.5),),)),
        Read((-1.0,), (((0, inf),),)),
    ],
)
def test_readings_that_do_not_fit_or_are_no_numbers_have_no_distance(other: Read) -> None:
    one = Read((-1.0,), (((0, -0.1), (1, -3.0)),))
    assert kl(one, other) is None
    assert kl(other, one) is None
    assert "kl_base" not in score(one, base=other)


def test_a_token_that_one_side_rules_out_is_pooled() -> None:
    one, other = Read((-1.0,), (((0, -0.1), (1, -3.0)),)), Read((-1.0,), (((0, -0.1), (1, -inf)),))
    assert kl(one, other) == pytest.approx(0, abs=1e-9)


def test_lists_that_share_no_token_say_nothing() -> None:
    assert kl(Read((-1.0,), (((0, -0.1),),)), Read((-1.0,), (((1, -0.1),),))) == 0


def test_rounding_above_one_is_forgiven() -> None:
    top: Top = ((0, 1e-7),)
    assert kl(Read((0.0,), (top,)), Read((0.0,), (top,))) == 0


def test_each_side_gets_its_own_distance() -> None:
    far, near = Read((-1.0,), (((0, -3.0),),)), Read((-1.0,), (((0, -0.2),),))
    found = score(Read((-1.0,), (((0, -0.1),),)), base=far, champion=near)
    assert list(found) == ["nll", "perplexity", "kl_base", "kl_champion"]
    assert found["kl_base"] > found["kl_champion"] > 0
