"""What a release waits for is said completely, with a code of a closed set, and never where `decide` would go on."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rollout.core.decide import Coverage, decide, is_overdue
from rollout.core.flag import FlagState
from rollout.core.judge import Evidence
from rollout.core.lifecycle import Hastened, Paused, Phase, RolloutState
from rollout.core.manifest import Brake, Release, Skip
from rollout.core.plan import Plan, Share
from rollout.core.verdict import Analysis, Outcome, Verdict
from rollout.core.waiting import Cause, Surroundings, per_second, waits

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
SAID: dict[str, Any] = {"at": NOW, "actor": "ann", "environment": "demo", "name": "bot", "tool": "0"}


def plan(**changes: Any) -> Plan:
    return Plan.model_validate(
        {
            "schema": "adapter-rollout/plan/v1",
            "name": "p",
            "steps": [
                {"share": "5%", "bake": "1h", "min_samples": 1000},
                {"share": "50%", "bake": "1h", "min_samples": 1000},
                {"share": "100%", "bake": "1h", "min_samples": 1000},
            ],
            "deadline": "1d",
            "metrics": ["errors"],
            **changes,
        }
    )


def state(**changes: Any) -> RolloutState:
    return replace(
        RolloutState(
            phase=Phase.CANARY,
            step=0,
            share=Share.parse("5%"),
            entered_at=NOW - timedelta(hours=2),
            passes_in_a_row=1,
        ),
        **changes,
    )


def judged(outcome: Outcome = Outcome.PASS, *, samples: int = 2000, projected: int | None = None) -> Analysis:
    verdict = Verdict(
        subject="errors", outcome=outcome, reason="so it is", samples=(9, samples), projected=projected
    )
    return Analysis(verdicts=(verdict,))


def flag(state: RolloutState) -> FlagState:
    return FlagState(
        key="f", version=0, on=state.share > Share.ZERO, share=state.share, changed_by="us", read_at=NOW
    )


WAITING: dict[str, tuple[Plan, RolloutState, Analysis, Surroundings, list[Cause]]] = {
    "nothing": (plan(), state(), judged(), Surroundings(), []),
    "time": (plan(), state(entered_at=NOW - timedelta(minutes=10)), judged(), Surroundings(), [Cause.TIME]),
    "samples": (plan(), state(), judged(samples=360), Surroundings(), [Cause.SAMPLES]),
    "proof": (plan(), state(), judged(Outcome.INCONCLUSIVE), Surroundings(), [Cause.PROOF]),
    "no data": (plan(), state(), judged(Outcome.NO_DATA), Surroundings(), [Cause.NO_DATA]),
    "an error": (plan(), state(), judged(Outcome.ERROR), Surroundings(), [Cause.NO_DATA]),
    "harm within the budget": (
        plan(failure_budget=2),
        state(failures=1, failures_in_a_row=1),
        judged(Outcome.FAIL),
        Surroundings(),
        [Cause.HARM],
    ),
    "looks in a row": (plan(consecutive_successes=3), state(), judged(), Surroundings(), [Cause.LOOKS]),
    "a person": (
        plan(
            steps=[
                {"share": "5%", "bake": "1h", "min_samples": 10, "pause": "support-lead"},
                {"share": "100%", "bake": "1h", "min_samples": 10},
            ]
        ),
        state(),
        judged(),
        Surroundings(),
        [Cause.PERSON],
    ),
    "a pause": (
        plan(),
        state(paused=Paused(reason="a fair", **SAID)),
        judged(),
        Surroundings(),
        [Cause.PAUSED],
    ),
    "a deaf gateway": (
        plan(),
        state(),
        judged(),
        Surroundings(gateways=("g0 did not answer",)),
        [Cause.GATEWAYS],
    ),
    "a step that nobody heard of": (plan(), state(heard=False), judged(), Surroundings(), [Cause.GATEWAYS]),
    "a share that is not served": (
        plan(),
        state(),
        judged(),
        Surroundings(mismatch="nobody gets it"),
        [Cause.SHARE],
    ),
    "a hold in the manifest": (
        plan(),
        state(),
        judged(),
        Surroundings(steering=Release(plan="p", hold=Brake(reason="a fair"))),
        [Cause.MANIFEST],
    ),
    "a hold further up": (
        plan(),
        state(),
        judged(),
        Surroundings(steering=Release(plan="p", hold=Brake(at=Share.parse("50%"), reason="a fair"))),
        [],
    ),
    "a freeze": (plan(), state(), judged(), Surroundings(frozen="the books are closed"), [Cause.FREEZE]),
    "a step left out": (
        plan(),
        state(),
        judged(Outcome.INCONCLUSIVE),
        Surroundings(steering=Release(plan="p", skip=Skip(shares=(Share.parse("5%"),), reason="urgent"))),
        [],
    ),
    "somebody's haste": (
        plan(),
        state(hastened=Hastened(reason="stable is broken", **SAID)),
        judged(Outcome.INCONCLUSIVE),
        Surroundings(),
        [],
    ),
    "a freeze at 100 %, where no share rises": (
        plan(),
        state(step=2, share=Share.FULL),
        judged(),
        Surroundings(frozen="the books are closed"),
        [],
    ),
    "looks that cannot be taken": (plan(), state(errors=6), judged(), Surroundings(), [Cause.ERRORS]),
    "several things": (
        plan(),
        state(entered_at=NOW - timedelta(minutes=10)),
        judged(Outcome.INCONCLUSIVE, samples=100),
        Surroundings(mismatch="nobody gets it", frozen="the books are closed"),
        [Cause.TIME, Cause.SHARE, Cause.SAMPLES, Cause.PROOF, Cause.FREEZE],
    ),
}


@pytest.mark.parametrize("case", WAITING)
def test_everything_that_is_waited_for_has_its_cause(case: str) -> None:
    of, at, analysis, around, causes = WAITING[case]
    assert [each.cause for each in waits(of, at, analysis, NOW, around)] == causes


@pytest.mark.parametrize("case", WAITING)
def test_something_is_waited_for_exactly_where_the_decision_is_not_to_go_on(case: str) -> None:
    of, at, analysis, around, causes = WAITING[case]
    decision = decide(
        plan=of,
        state=at,
        flag=flag(at),
        coverage=Coverage(replicas=1, missing=around.gateways),
        analysis=analysis,
        now=NOW,
        mismatch=around.mismatch,
        closed=around.frozen,
        steering=around.steering,
    )
    assert (type(decision).__name__ in ("Hold", "Halt")) is bool(causes), decision


def test_requests_are_counted_and_timed_at_the_pace_of_the_step() -> None:
    heard = {"errors": Evidence(candidate_heard_at=NOW - timedelta(hours=1))}
    at = state(evidence=heard)
    few = judged(Outcome.INCONCLUSIVE, samples=360, projected=1080)
    assert per_second(at, few) == pytest.approx(0.1)
    samples, proof = waits(plan(), at, few, NOW, Surroundings())
    assert (samples.requests, samples.time) == (640, timedelta(seconds=6400))
    assert samples.until == "640 more requests of the candidate"
    assert (proof.requests, proof.time) == (720, timedelta(seconds=7200))
    assert proof.until == "about 720 more requests of the candidate decide errors"


def test_no_time_is_told_where_no_request_was_seen() -> None:
    (samples, _) = waits(plan(), state(), judged(Outcome.NO_DATA, samples=0), NOW, Surroundings())
    assert samples.time is None


def test_a_window_is_told_in_its_own_time_zone() -> None:
    window = {"rule": "FREQ=WEEKLY;BYDAY=MO;BYHOUR=9", "duration": "8h", "time_zone": "Europe/Berlin"}
    of = plan(windows=[window])
    opens = datetime(2026, 3, 9, 8, tzinfo=UTC)
    (wait,) = waits(of, state(), judged(), NOW, Surroundings(opens=opens))
    assert wait.cause is Cause.WINDOW
    assert wait.until == "a window opens Monday 2026-03-09 09:00 Europe/Berlin"


def test_nothing_is_waited_for_where_nothing_is_under_way() -> None:
    assert waits(plan(), RolloutState(), judged(), NOW, Surroundings(frozen="x")) == ()


def test_a_deadline_passes_of_the_state_and_not_of_the_plan() -> None:
    own = plan(
        steps=[
            {"share": "5%", "bake": "1h", "min_samples": 10, "deadline": "90m"},
            {"share": "100%", "bake": "1h", "min_samples": 10},
        ]
    )
    assert is_overdue(own, state(), NOW)
    assert not is_overdue(plan(), state(), NOW)
