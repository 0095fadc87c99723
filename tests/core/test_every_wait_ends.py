"""Every state under way has a deadline whatever it waits for, and looks in a row count where the plan counts them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from rollout.core.decide import Advance, Coverage, Decision, Hold, RollBack, decide
from rollout.core.lifecycle import Adopted, Cleared, Heard, LedgerEvent, Phase, Shifted
from rollout.core.manifest import Release
from rollout.core.plan import Share
from rollout.core.verdict import Analysis, Outcome, Verdict
from tests.core.factories import OLD, event, flag, later, looked, plan, shift, started, state

ADOPTED = event(Adopted, stable=OLD)
SHADOW = (ADOPTED, started())
AT_TEN = (*SHADOW, *shift(0, "10%"))
AT_FULL = (*AT_TEN, *shift(1, "50%"), *shift(2, "100%"))
FIRST = "before the first step"
BEFORE_THE_FIRST = (ADOPTED, started(Phase.CANARY))
UNHEARD = (
    *SHADOW,
    shift(0, "10%")[0],
    event(Shifted, step=0, share=Share.parse("10%"), flag_version=4, edge="0", heard=False),
)
STATES = {
    "shadow": SHADOW,
    FIRST: BEFORE_THE_FIRST,
    "10 %": AT_TEN,
    "100 %": AT_FULL,
    "no gateway has heard": UNHEARD,
}


def said(outcome: Outcome, samples: int = 500) -> Analysis:
    verdict = Verdict(subject="errors", outcome=outcome, reason="because", samples=(samples, samples))
    return Analysis(verdicts=(verdict,))


def decided(
    events: tuple[LedgerEvent, ...],
    *,
    hours: float,
    seen: Analysis,
    missing: tuple[str, ...] = (),
    mismatch: str | None = None,
    closed: str | None = None,
    closed_for: timedelta = timedelta(0),
    steering: Release | None = None,
    **changes: object,
) -> Decision:
    at = state(*events)
    return decide(
        plan=plan(**changes),
        state=at,
        flag=flag(str(at.share), on=at.share > Share.ZERO),
        coverage=Coverage(replicas=1, missing=missing),
        analysis=seen,
        now=later(hours=hours),
        mismatch=mismatch,
        closed=closed,
        closed_for=closed_for,
        steering=steering,
    )


WAITS = {
    "a replica": {"missing": ("r0: gone",), "seen": said(Outcome.PASS)},
    "users": {"mismatch": "nobody was served", "seen": said(Outcome.PASS)},
    "requests": {"seen": said(Outcome.PASS, samples=1)},
    "proof": {"seen": said(Outcome.INCONCLUSIVE)},
    "data": {"seen": said(Outcome.NO_DATA)},
    "no metric": {"seen": Analysis()},
}
# Before the first step nobody is served, so that only replicas are waited for.
CASES = [(where, cause) for where in STATES for cause in WAITS if where != FIRST or cause == "a replica"]


@pytest.mark.parametrize(("where", "cause"), CASES)
def test_whatever_a_state_waits_for_its_deadline_ends_it(where: str, cause: str) -> None:
    """F20: nothing waits for ever without a word, and no deadline is a way to go on."""
    before = decided(STATES[where], hours=1, **WAITS[cause])  # type: ignore[arg-type]
    assert isinstance(before, Hold)
    assert not before.final
    held = decided(STATES[where], hours=3, **WAITS[cause])  # type: ignore[arg-type]
    assert isinstance(held, Hold)
    assert held.final
    assert held.reason == f"the deadline of 2:00:00 passed: {before.reason}"
    taken = decided(STATES[where], hours=3, on_inconclusive="roll_back", **WAITS[cause])  # type: ignore[arg-type]
    assert isinstance(taken, RollBack)
    assert before.reason in taken.reason


HELD = Release.model_validate({"plan": "standard", "hold": {"reason": "the team is away"}})
QUIET = {"seen": said(Outcome.NO_DATA), "on_inconclusive": "roll_back"}


def test_no_deadline_counts_the_time_in_which_no_share_might_rise() -> None:
    """A night outside the windows is quiet: its silence is no reason to take a candidate back in the morning."""
    night = decided(
        AT_TEN, hours=16, closed="the windows are closed", closed_for=timedelta(hours=15), **QUIET
    )
    assert night == Hold(reason="errors: because")
    spent = decided(AT_TEN, hours=18, closed_for=timedelta(hours=15), **QUIET)
    assert isinstance(spent, RollBack)
    at_full = decided(AT_FULL, hours=16, closed_for=timedelta(hours=15), **QUIET)
    assert isinstance(at_full, RollBack), "what is at 100 % has nowhere to rise to"


def test_what_the_manifest_holds_is_not_taken_back_for_lack_of_time() -> None:
    held = decided(AT_TEN, hours=9, steering=HELD, **QUIET)
    assert held == Hold(
        reason="the deadline of 2:00:00 passed: errors: because; the manifest holds it where it is: the team is away",
        final=True,
    )


def test_a_step_at_which_the_plan_pauses_has_no_clock_before_it_is_cleared() -> None:
    steps = [
        {"share": "10%", "bake": "10m", "min_samples": 100, "pause": "ann"},
        {"share": "100%", "bake": "10m", "min_samples": 100},
    ]
    waits = decided(AT_TEN, hours=9, steps=steps, **QUIET)
    assert isinstance(waits, Hold)
    assert waits.reason.endswith("errors: because; the plan pauses at 10%: ann has to resume the release")
    cleared = (*AT_TEN, event(Cleared, later(hours=9), step=0, reason="go on"))
    assert decided(cleared, hours=10, steps=steps, **QUIET) == Hold(reason="errors: because")
    assert isinstance(decided(cleared, hours=12, steps=steps, **QUIET), RollBack)


def test_the_clock_of_a_step_that_was_heard_late_begins_there() -> None:
    """F14: nothing counts of the time in which users were still served by the step before."""
    unheard = decided(UNHEARD, hours=1, seen=said(Outcome.PASS))
    assert unheard == Hold(
        reason="not every gateway decides by this step's flag version yet: its time has not begun"
    )
    late = (*UNHEARD, event(Heard, later(hours=1), edge="5"))
    made = decided(late, hours=1.1, seen=said(Outcome.PASS))
    assert made == Hold(reason="240 s of 600 s to go")
    assert isinstance(decided(late, hours=1.2, seen=said(Outcome.PASS)), Advance)


def test_a_plan_may_ask_for_several_passing_looks_and_one_that_is_not_begins_them_anew() -> None:
    """F1: success is a number of looks that passed, and never the absence of those that failed."""
    once, twice = looked(), (looked(), looked())
    broken = (looked(), looked(Outcome.INCONCLUSIVE), looked())
    for looks in ((once,), broken):
        made = decided((*AT_TEN, *looks), hours=1, seen=said(Outcome.PASS), consecutive_successes=2)
        assert made == Hold(reason="1 of 2 looks in a row have passed")
    made = decided((*AT_TEN, *twice), hours=1, seen=said(Outcome.PASS), consecutive_successes=2)
    assert isinstance(made, Advance)


@pytest.mark.parametrize("outcome", [Outcome.NO_DATA, Outcome.ERROR, Outcome.INCONCLUSIVE])
def test_no_number_of_looks_that_found_nothing_is_a_pass(outcome: Outcome) -> None:
    """F1: not even a hundred of them, and though no limit was ever exceeded."""
    looks = (looked(outcome),) * 100
    made = decided((*AT_TEN, *looks), hours=1, seen=said(outcome), failure_budget=5)
    assert made == Hold(reason="errors: because")


def test_failures_in_a_row_are_acted_on_before_the_budget_is_spent() -> None:
    """F10: one bad look may be let pass, two in a row are not."""
    bad, good = looked(Outcome.FAIL), looked()
    plans: dict[str, Any] = {"failure_budget": 5, "consecutive_failures": 2}
    apart = decided((*AT_TEN, bad, good, bad), hours=1, seen=said(Outcome.FAIL), **plans)
    assert apart == Hold(reason="errors: because")
    assert isinstance(
        decided((*AT_TEN, bad, good, bad, bad), hours=1, seen=said(Outcome.FAIL), **plans), RollBack
    )
