"""How many tokens copies may still use."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rollout.gateway.tokenbudget import TokenBudget


class Watch:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_without_a_limit_there_is_always_room() -> None:
    budget = TokenBudget(None)
    assert all(budget.reserve(10**9) for _ in range(10))


def test_what_was_used_comes_back_a_minute_after_it_was_answered() -> None:
    clock = Watch()
    budget = TokenBudget(100, clock=clock)
    assert budget.reserve(80)
    clock.now = 50
    budget.settle(80, 80)
    clock.now = 109.9
    assert not budget.reserve(21)
    clock.now = 110
    assert budget.reserve(100)


def test_copies_under_way_hold_their_guess_however_long_they_take() -> None:
    clock = Watch()
    budget = TokenBudget(100, clock=clock)
    assert budget.reserve(80)
    clock.now = 3600
    assert not budget.reserve(21)


def test_what_a_copy_really_used_counts_not_what_was_guessed() -> None:
    budget = TokenBudget(100, clock=Watch())
    assert budget.reserve(10)
    budget.settle(10, 95)
    assert not budget.reserve(6)
    assert budget.reserve(5)


def test_a_copy_that_was_never_sent_gives_its_guess_back() -> None:
    budget = TokenBudget(100, clock=Watch())
    assert budget.reserve(100)
    budget.settle(100, 0)
    assert budget.reserve(100)


@given(st.integers(1, 1000), st.lists(st.tuples(st.integers(1, 400), st.floats(0, 40)), max_size=60))
def test_no_minute_holds_more_than_the_limit_where_guesses_are_right(
    limit: int, copies: list[tuple[int, float]]
) -> None:
    clock, used = Watch(), list[tuple[float, int]]()
    budget = TokenBudget(limit, clock=clock)
    for tokens, pause in copies:
        if budget.reserve(tokens):
            budget.settle(tokens, tokens)
            used.append((clock.now, tokens))
        clock.now += pause
    for at, _ in used:
        assert sum(tokens for when, tokens in used if at <= when < at + 60) <= limit
