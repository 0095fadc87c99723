"""Every reason to wait waits, harm takes back, and a changed world stops everything."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.core.decide import (
    Adopt,
    Advance,
    AskedSuite,
    Begin,
    Coverage,
    Decision,
    Halt,
    Hold,
    Promote,
    Refuse,
    RollBack,
    admit,
    decide,
)
from rollout.core.lifecycle import Adopted, Erred, Phase, RolloutState
from rollout.core.plan import Share
from rollout.core.verdict import NOTHING_JUDGED, Analysis, Outcome, Verdict, worst
from tests.core.factories import (
    NEW,
    OLD,
    SHA,
    evaluated,
    event,
    flag,
    later,
    looked,
    plan,
    promoted,
    rolled_back,
    shift,
    started,
    state,
    version,
)

ADOPTED = event(Adopted, stable=OLD)
SHADOW = (ADOPTED, started())
AT_TEN = (*SHADOW, *shift(0, "10%"))
AT_FULL = (*AT_TEN, *shift(1, "50%"), *shift(2, "100%"))
EVERYWHERE = Coverage(replicas=2)


def analysis(outcome: Outcome = Outcome.PASS, samples: int = 500) -> Analysis:
    verdict = Verdict(subject="errors", outcome=outcome, reason="because", samples=(samples, samples))
    return Analysis(verdicts=(verdict,))


def decision(
    at: RolloutState,
    *,
    share: str,
    on: bool = True,
    now: datetime = later(hours=1),  # noqa: B008 - a constant
    coverage: Coverage = EVERYWHERE,
    seen: Analysis = analysis(),  # noqa: B008 - a constant
    **changes: object,
) -> Decision:
    return decide(
        plan=plan(**changes), state=at, flag=flag(share, on=on), coverage=coverage, analysis=seen, now=now
    )


def test_a_shadow_that_passed_goes_to_the_first_step() -> None:
    assert decision(state(*SHADOW), share="0%") == Advance(
        step=0, share=Share.parse("10%"), reason="shadow passed: on to 10%"
    )


def test_a_step_that_passed_goes_to_the_next() -> None:
    made = decision(state(*AT_TEN), share="10%")
    assert isinstance(made, Advance)
    assert (made.step, made.share) == (1, Share.parse("50%"))


def test_a_whole_share_that_passed_is_promoted() -> None:
    assert decision(state(*AT_FULL), share="100%") == Promote(reason="passed at 100%")


def test_a_release_without_a_shadow_goes_straight_to_its_first_step() -> None:
    at = state(ADOPTED, started(Phase.CANARY))
    made = decision(at, share="0%", on=False, seen=NOTHING_JUDGED, shadow=None)
    assert isinstance(made, Advance)
    assert made.step == 0


@pytest.mark.parametrize("outcome", [each for each in Outcome if each not in (Outcome.PASS, Outcome.FAIL)])
def test_nothing_but_a_pass_advances(outcome: Outcome) -> None:
    made = decision(state(*AT_TEN), share="10%", seen=analysis(outcome))
    assert made == Hold(reason="errors: because")


def test_no_verdict_at_all_never_advances() -> None:
    made = decision(state(*AT_TEN), share="10%", seen=NOTHING_JUDGED)
    assert made == Hold(reason="0 of 100 requests of the candidate judged")


def test_a_verdict_that_is_not_required_never_carries_an_advance() -> None:
    optional = Verdict(subject="x", outcome=Outcome.PASS, reason="fine", samples=(900, 900), required=False)
    assert isinstance(decision(state(*AT_TEN), share="10%", seen=Analysis(verdicts=(optional,))), Hold)


def test_too_few_requests_hold() -> None:
    made = decision(state(*AT_TEN), share="10%", seen=analysis(samples=99))
    assert made == Hold(reason="99 of 100 requests of the candidate judged")


def test_too_little_time_holds() -> None:
    made = decision(state(*AT_TEN), share="10%", now=later(minutes=9))
    assert made == Hold(reason="60 s of 600 s to go")


@pytest.mark.parametrize(
    ("coverage", "reason"),
    [
        (
            Coverage(replicas=2, missing=("r1: does not list bot",)),
            "not on every replica: r1: does not list bot",
        ),
        (Coverage(replicas=0), "not on every replica: no replica answered"),
    ],
)
def test_a_replica_without_the_adapter_holds(coverage: Coverage, reason: str) -> None:
    assert decision(state(*AT_TEN), share="10%", coverage=coverage) == Hold(reason=reason)


@pytest.mark.parametrize("events", [SHADOW, AT_TEN, AT_FULL], ids=["shadow", "10 %", "100 %"])
def test_shown_harm_takes_back_in_every_state(events: tuple[object, ...]) -> None:
    at = state(*events, looked(Outcome.FAIL))  # type: ignore[arg-type]
    made = decision(at, share=str(at.share), seen=analysis(Outcome.FAIL), now=later(seconds=1))
    assert made == RollBack(reason="errors: because")


def test_harm_within_the_failure_budget_only_holds() -> None:
    at = state(*AT_TEN, looked(Outcome.FAIL))
    made = decision(at, share="10%", seen=analysis(Outcome.FAIL), failure_budget=1)
    assert made == Hold(reason="errors: because")


@pytest.mark.parametrize(
    ("share", "on", "made_of_it", "reason"),
    [
        ("10%", False, Adopt, "turned down by rollout (version 5): it gives 0%, we had left it at 10%"),
        ("5%", True, Adopt, "turned down by rollout (version 5): it gives 5%, we had left it at 10%"),
        ("25%", True, Halt, "turned up by rollout (version 5): it gives 25%, we had left it at 10%"),
        ("100%", True, Halt, "turned up by rollout (version 5): it gives 100%, we had left it at 10%"),
    ],
)
def test_a_flag_that_somebody_moved_stops_everything_but_a_rollback(
    share: str, on: bool, made_of_it: type[Decision], reason: str
) -> None:
    made = decision(state(*AT_TEN), share=share, on=on)
    assert type(made) is made_of_it
    assert reason in made.reason
    harmed = state(*AT_TEN, looked(Outcome.FAIL))
    assert isinstance(decision(harmed, share=share, on=on, seen=analysis(Outcome.FAIL)), RollBack)


def test_a_flag_that_is_gone_stops_everything() -> None:
    made = decide(
        plan=plan(),
        state=state(*AT_TEN),
        flag=None,
        coverage=EVERYWHERE,
        analysis=analysis(),
        now=later(hours=1),
    )
    assert made == Halt(reason="the flag is gone: every gateway serves stable")


def test_a_clock_behind_the_ledger_stops_everything() -> None:
    made = decision(state(*AT_TEN), share="10%", now=later(minutes=-5))
    assert isinstance(made, Halt)
    assert "behind the ledger" in made.reason


def test_users_who_are_not_served_as_the_flag_says_hold_however_well_it_goes() -> None:
    facts = {"plan": plan(), "state": state(*AT_TEN), "flag": flag("10%"), "coverage": EVERYWHERE}
    said = "the candidate served 50% of users where the flag says 10%"
    proven = decide(**facts, analysis=analysis(), now=later(hours=1), mismatch=said)  # type: ignore[arg-type]
    assert proven == Hold(reason=said)
    early = decide(**facts, analysis=analysis(), now=later(minutes=9), mismatch=said)  # type: ignore[arg-type]
    assert early == Hold(reason=f"60 s of 600 s to go; {said}")
    harmed = decide(
        **(facts | {"state": state(*AT_TEN, looked(Outcome.FAIL))}),  # type: ignore[arg-type]
        analysis=analysis(Outcome.FAIL),
        now=later(hours=1),
        mismatch=said,
    )
    assert isinstance(harmed, RollBack)


def test_errors_beyond_their_budget_stop_and_do_not_count_as_harm() -> None:
    blind = [event(Erred, reason="no answer")] * 6
    made = decision(state(*AT_TEN, *blind), share="10%", seen=NOTHING_JUDGED)
    assert made == Halt(reason="6 looks in a row could not be taken; the error budget is 5")


def test_a_deadline_ends_a_wait_as_the_plan_says() -> None:
    waiting = {"share": "10%", "seen": analysis(Outcome.INCONCLUSIVE), "now": later(hours=3)}
    held = decision(state(*AT_TEN), **waiting)  # type: ignore[arg-type]
    assert isinstance(held, Hold)
    assert held.final
    taken = decision(state(*AT_TEN), **waiting, on_inconclusive="roll_back")  # type: ignore[arg-type]
    assert isinstance(taken, RollBack)
    assert "without proof" in taken.reason


def test_proof_that_comes_late_still_counts() -> None:
    assert isinstance(decision(state(*AT_TEN), share="10%", now=later(hours=3)), Advance)


@given(
    outcomes=st.lists(st.sampled_from(Outcome), max_size=4),
    samples=st.integers(0, 200),
    minutes=st.integers(0, 100),
    missing=st.booleans(),
)
def test_the_share_never_rises_unless_everything_passed(
    outcomes: list[Outcome], samples: int, minutes: int, missing: bool
) -> None:
    seen = Analysis(
        verdicts=tuple(
            Verdict(subject=f"m{place}", outcome=outcome, reason="r", samples=(samples, samples))
            for place, outcome in enumerate(outcomes)
        )
    )
    coverage = Coverage(replicas=1, missing=("r0",) if missing else ())
    at = state(*AT_TEN, looked(worst(outcomes)))
    made = decision(at, share="10%", seen=seen, coverage=coverage, now=later(minutes=minutes))
    if isinstance(made, Advance | Promote):
        assert outcomes
        assert set(outcomes) == {Outcome.PASS}
        assert samples >= 100
        assert minutes >= 10
        assert not missing


# --- admission --------------------------------------------------------------------------------------------------


GOLDEN = AskedSuite(name="golden", suite_digest="1" * 64, gates_digest="2" * 64)
SAFETY = AskedSuite(name="safety", suite_digest="5" * 64, gates_digest="6" * 64)


def _admit(
    *events: object, desired: object = NEW, suites: Sequence[AskedSuite] = (GOLDEN,), **changes: object
) -> Begin | Refuse:
    return admit(
        desired=desired,  # type: ignore[arg-type]
        state=state(*events),  # type: ignore[arg-type]
        plan=plan(**changes),
        suites=suites,
    )


def test_a_fresh_passing_evaluation_opens_the_door() -> None:
    assert isinstance(_admit(ADOPTED, evaluated()), Begin)


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ((ADOPTED,), "no evaluation"),
        ((ADOPTED, evaluated(outcome=Outcome.FAIL)), "ended with fail"),
        ((ADOPTED, evaluated(outcome=Outcome.INCONCLUSIVE)), "ended with inconclusive"),
        ((ADOPTED, evaluated(champion=version("0.9.0"))), "another champion"),
        ((ADOPTED, evaluated(champion=None)), "another champion"),
        ((ADOPTED, evaluated(suite_digest="9" * 64)), "another suite"),
        ((ADOPTED, evaluated(gates_digest="9" * 64)), "other gates"),
        ((ADOPTED, evaluated(), started(), rolled_back()), "rolled back on"),
        ((ADOPTED, evaluated(version("1.2.0"))), "no evaluation"),
    ],
)
def test_without_the_right_evaluation_nothing_begins(events: tuple[object, ...], reason: str) -> None:
    verdict = _admit(*events)
    assert isinstance(verdict, Refuse)
    assert verdict.blocked
    assert reason in verdict.reason


def test_the_last_evaluation_counts() -> None:
    assert isinstance(_admit(ADOPTED, evaluated(outcome=Outcome.FAIL), evaluated()), Begin)
    assert isinstance(_admit(ADOPTED, evaluated(), evaluated(outcome=Outcome.FAIL)), Refuse)


ON_SAFETY = {"suite_digest": "5" * 64, "gates_digest": "6" * 64, "report": "7" * 64}


def test_every_suite_that_the_policy_asks_for_must_be_passed() -> None:
    begun = _admit(ADOPTED, evaluated(**ON_SAFETY), evaluated(), suites=(GOLDEN, SAFETY))
    assert isinstance(begun, Begin)
    assert begun.reports == (SHA, "7" * 64), "in the order of the suites, not of the evaluations"


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ((evaluated(),), "safety is missing"),
        ((evaluated(**ON_SAFETY),), "golden is missing"),
        ((evaluated(), evaluated(**ON_SAFETY, outcome=Outcome.FAIL)), "on safety ended with fail"),
        ((evaluated(), evaluated(**ON_SAFETY, champion=None)), "another champion"),
    ],
)
def test_a_required_suite_that_is_not_passed_keeps_the_door_shut(
    events: tuple[object, ...], reason: str
) -> None:
    verdict = _admit(ADOPTED, *events, suites=(GOLDEN, SAFETY))
    assert isinstance(verdict, Refuse)
    assert reason in verdict.reason


def test_an_evaluation_on_another_suite_takes_nothing_back() -> None:
    assert isinstance(_admit(ADOPTED, evaluated(), evaluated(**ON_SAFETY, outcome=Outcome.FAIL)), Begin)


def test_a_policy_that_asks_for_no_suite_lets_nothing_begin() -> None:
    assert isinstance(_admit(ADOPTED, evaluated(), suites=()), Refuse)


def test_the_first_release_has_the_base_as_its_champion() -> None:
    assert isinstance(_admit(evaluated(champion=None)), Begin)


def test_a_newer_version_waits_or_is_rejected_as_the_plan_says() -> None:
    newer = version("1.2.0")
    queued = _admit(*AT_TEN, evaluated(newer), desired=newer)
    assert queued == Refuse(
        reason=f"{newer.served_name} waits until {NEW.served_name} is done", blocked=False
    )
    rejected = _admit(*AT_TEN, evaluated(newer), desired=newer, on_new_version="reject")
    assert isinstance(rejected, Refuse)
    assert rejected.blocked


def test_nothing_is_under_way_after_a_promotion() -> None:
    made = decision(state(*AT_FULL, promoted()), share="100%")
    assert isinstance(made, Halt)


def test_a_rollback_names_what_failed_and_nothing_else() -> None:
    seen = Analysis(
        verdicts=(
            Verdict(subject="format", outcome=Outcome.FAIL, reason="worse", samples=(500, 500)),
            Verdict(subject="errors", outcome=Outcome.INCONCLUSIVE, reason="3 of 50", samples=(500, 3)),
            Verdict(subject="tone", outcome=Outcome.FAIL, reason="worse", required=False),
        )
    )
    made = decision(state(*AT_TEN, looked(Outcome.FAIL)), share="10%", seen=seen)
    assert made == RollBack(reason="format: worse")
