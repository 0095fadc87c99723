"""The product in one page: from what is known to the one thing that is done.

`admit` says whether a version may begin; `decide` says what the next move of a release under way is. Both are
pure: they read values and return a decision with its reason, and everything they do not know blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from rollout.core.drift import Toward, drift
from rollout.core.flag import FlagState
from rollout.core.lifecycle import Evaluated, Phase, RolloutState, Version
from rollout.core.manifest import Release
from rollout.core.plan import OnInconclusive, OnNewVersion, Plan, Share
from rollout.core.verdict import Analysis, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Nothing moves. `final` means that a deadline has passed and a human is needed."""

    reason: str
    final: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Advance:
    """Go to the step `step` of the plan, whose share is `share`. `skipped` says why steps before it are left out."""

    step: int
    share: Share
    reason: str
    skipped: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Promote:
    """The candidate has proven itself at 100 %."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RollBack:
    """Take the candidate back."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Halt:
    """The world is not what we left it: touch nothing, call a human."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopt:
    """Somebody else turned the flag down: take that over, and hold."""

    reason: str


Decision = Hold | Advance | Promote | RollBack | Halt | Adopt


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What the replicas showed: which of them lack an adapter that they must have, and why.

    `no_way_back` says why stable is not on all of them: only a person goes on then, and nothing is taken back by time.
    """

    replicas: int
    missing: Sequence[str] = ()
    no_way_back: str | None = None

    @property
    def complete(self) -> bool:
        """Whether every replica, and at least one, has all that it must have."""
        return self.replicas > 0 and not self.missing

    @property
    def only_forward(self) -> bool:
        """Whether the candidate is served, and stable is not: taking it back by time would bring nobody anything."""
        return self.complete and self.no_way_back is not None

    @property
    def complaint(self) -> str:
        """The sentence about what is not complete."""
        return "not on every replica: " + ("; ".join(self.missing) or "no replica answered")


def decide(
    *,
    plan: Plan,
    state: RolloutState,
    flag: FlagState | None,
    coverage: Coverage,
    analysis: Analysis,
    now: datetime,
    mismatch: str | None = None,
    closed: str | None = None,
    closed_for: timedelta = timedelta(0),
    steering: Release | None = None,
) -> Decision:
    """What to do next with a release under way. Shown harm comes before everything: taking back is always safe.

    `mismatch` says how what was served differs from what the flag says, None where it does not. `closed` says why no
    share may rise now (a window, a freeze), `closed_for` how long that was so since `clock_began`, `steering` what a
    pull request asks for.
    """
    if not state.phase.under_way or state.entered_at is None:
        return Halt(reason=f"nothing is under way in phase {state.phase}")
    if (harm := shown_harm(plan, state, analysis)) is not None:
        return harm
    deadline, overdue = deadline_of(plan, state), is_overdue(plan, state, now, closed_for)
    if (drifted := drift(state, flag)) is not None:
        if overdue and _is_half_taken_back(plan, flag):
            return RollBack(reason=f"the deadline of {deadline} passed without proof")
        safer = drifted.toward is Toward.SAFETY
        return Adopt(reason=drifted.reason) if safer else Halt(reason=drifted.reason)
    elapsed = now - state.entered_at
    if elapsed < timedelta(0):
        return Halt(reason=f"the clock is {-elapsed} behind the ledger")
    forward = _forward(plan, state, steering)
    held = _held(plan, state, forward, steering)
    waited_for = state.paused is not None or state.lowered is not None or held is not None
    may_end = plan.on_inconclusive is OnInconclusive.ROLL_BACK and not waited_for
    may_end = may_end and not coverage.only_forward
    if state.errors > plan.error_budget:
        if overdue and may_end:
            return RollBack(
                reason=f"the deadline of {deadline} passed: {state.errors} looks could not be taken"
            )
        return Halt(
            reason=f"{state.errors} looks in a row could not be taken; the error budget is {plan.error_budget}"
        )
    unproven = _what_is_missing(plan, state, coverage, analysis, elapsed, mismatch, steering)
    if unproven is None:
        # To wait for a person or the calendar is never harm, and never ends in a rollback.
        if held is not None:
            return Hold(reason=held, final=overdue)
        return forward if closed is None or isinstance(forward, Promote) else Hold(reason=closed)
    missing = unproven if held is None else f"{unproven}; {held}"
    if not overdue:
        return Hold(reason=missing)
    if may_end:
        return RollBack(reason=f"the deadline of {deadline} passed without proof: {missing}")
    return Hold(reason=f"the deadline of {deadline} passed: {missing}", final=True)


def shown_harm(plan: Plan, state: RolloutState, analysis: Analysis) -> RollBack | None:
    """The rollback that shown harm beyond the failure budget demands, whatever else is known; or None."""
    if analysis.outcome is Outcome.FAIL and _is_failure_budget_spent(plan, state):
        return RollBack(reason="; ".join(analysis.failures))
    return None


def unheeded_harm(plan: Plan, state: RolloutState) -> RollBack | None:
    """The rollback that the last look demanded before its tick died: what comes later must not outweigh it."""
    if state.failed is not None and _is_failure_budget_spent(plan, state):
        return RollBack(
            reason=state.failed.reasons[0] if state.failed.reasons else "the last look showed harm"
        )
    return None


def _is_failure_budget_spent(plan: Plan, state: RolloutState) -> bool:
    in_a_row = plan.consecutive_failures is not None and state.failures_in_a_row >= plan.consecutive_failures
    return state.failures > plan.failure_budget or in_a_row


def deadline_of(plan: Plan, state: RolloutState) -> timedelta:
    """The longest time in the present state."""
    own = plan.shadow.deadline if state.phase is Phase.SHADOW and plan.shadow else None
    if state.phase is Phase.CANARY and state.step >= 0:
        own = plan.steps[state.step].deadline
    return plan.deadline if own is None else own


def clock_began(state: RolloutState) -> datetime | None:
    """When the present state's deadline began to run: a step at which the plan pauses has none before it is cleared."""
    began = [at for at in (state.entered_at, state.cleared_at) if at is not None]
    return max(began, default=None)


def is_overdue(plan: Plan, state: RolloutState, now: datetime, closed_for: timedelta = timedelta(0)) -> bool:
    """Whether the deadline of the present state has passed, the time not counted in which no share might rise."""
    left = time_left(plan, state, now, closed_for)
    return left is not None and left < timedelta(0)


def time_left(
    plan: Plan, state: RolloutState, now: datetime, closed_for: timedelta = timedelta(0)
) -> timedelta | None:
    """How much of the deadline is left, less than nothing behind it; None before the present state has begun.

    Time in which no share might rise is not counted, but at 100 %: what is there has nowhere to rise to.
    """
    began = clock_began(state)
    idle = closed_for if state.share < Share.FULL else timedelta(0)
    return None if began is None else deadline_of(plan, state) - (now - began - idle)


def _is_half_taken_back(plan: Plan, flag: FlagState | None) -> bool:
    """Whether a rollback at the deadline may have died behind its flag write: to finish it is safe in any case."""
    off = flag is not None and flag.reach.is_nobody
    return off and plan.on_inconclusive is OnInconclusive.ROLL_BACK


def _what_is_missing(
    plan: Plan,
    state: RolloutState,
    coverage: Coverage,
    analysis: Analysis,
    elapsed: timedelta,
    mismatch: str | None,
    steering: Release | None,
) -> str | None:
    """The first thing that stands between this state and the next, or None."""
    if state.lowered is not None:
        return f"{state.lowered.reason}; resume the release or take it back"
    if state.paused is not None:
        return f"paused by {state.paused.actor}: {state.paused.reason}; resume the release or take it back"
    if not coverage.complete:
        return coverage.complaint
    if coverage.no_way_back and state.hastened is None:
        return f"{coverage.no_way_back}; without it, `rollout promote` goes forward"
    if (
        analysis.outcome is Outcome.FAIL
    ):  # Within the failure budget: nobody more gets it meanwhile, skipped or not.
        return "; ".join(analysis.failures)
    if state.phase is Phase.CANARY and (state.step < 0 or _was_resumed(plan, state)):
        return None  # Nobody is served as this step says yet, so there is nothing to judge.
    if state.hastened is not None or _is_skipped(plan, state, steering):
        return None
    if not state.heard:
        return "not every gateway decides by this step's flag version yet: its time has not begun"
    bake, needed = _demands(plan, state)
    to_go = bake - elapsed
    soaking = (
        f"{to_go.total_seconds():.0f} s of {bake.total_seconds():.0f} s to go" if elapsed < bake else None
    )
    if soaking or mismatch:
        return "; ".join(each for each in (soaking, mismatch) if each)
    judged = min((verdict.samples[1] for verdict in analysis.verdicts if verdict.required), default=0)
    if judged < needed:
        return f"{judged} of {needed} requests of the candidate judged"
    if analysis.outcome is not Outcome.PASS:
        return "; ".join(analysis.reasons) or "no metric was judged"
    in_a_row = max(1, state.passes_in_a_row)
    if in_a_row < plan.consecutive_successes:
        return f"{in_a_row} of {plan.consecutive_successes} looks in a row have passed"
    return None


def _held(
    plan: Plan, state: RolloutState, forward: Advance | Promote, steering: Release | None
) -> str | None:
    """Whom the plan's pause or the manifest's `hold` makes it wait for, whatever is proven; None if for nobody."""
    step = plan.steps[state.step] if state.phase is Phase.CANARY and state.step >= 0 else None
    if step is not None and step.pause is not None and state.cleared < state.step and state.hastened is None:
        return f"the plan pauses at {step.place}: {step.pause} has to resume the release"
    brake = steering.hold if steering else None
    if brake is not None and (
        brake.at is None or (isinstance(forward, Advance) and forward.share > brake.at)
    ):
        limit = f"at {brake.at}" if brake.at is not None else "where it is"
        return f"the manifest holds it {limit}: {brake.reason}"
    return None


def _demands(plan: Plan, state: RolloutState) -> tuple[timedelta, int]:
    """(time, judged requests of the candidate) that the present state asks for."""
    if state.phase is Phase.SHADOW:
        assert plan.shadow is not None
        return plan.shadow.duration, plan.shadow.pairs
    step = plan.steps[state.step]
    return step.bake, step.min_samples


def _was_resumed(plan: Plan, state: RolloutState) -> bool:
    """Whether the flag was turned down at this step, and the release may go up to it again."""
    return state.step >= 0 and state.reach.below(plan.reach_at(state.step))


def _is_skipped(plan: Plan, state: RolloutState, steering: Release | None) -> bool:
    """Whether a pull request leaves the present step out. What comes before 100 % cannot be: it is the proof."""
    if steering is None or steering.skip is None or state.phase is not Phase.CANARY:
        return False
    return state.step < len(plan.steps) - 2 and plan.steps[state.step].share in steering.skip.shares


def _forward(plan: Plan, state: RolloutState, steering: Release | None) -> Advance | Promote:
    if state.phase is Phase.CANARY and _was_resumed(plan, state):
        share, reach = plan.steps[state.step].share, plan.reach_at(state.step)
        return Advance(step=state.step, share=share, reason=f"resumed: up to {reach} again")
    following, skipped = _following(plan, state, steering)
    if following < len(plan.steps):
        share = plan.steps[following].share
        place = "shadow" if state.phase is Phase.SHADOW else f"{state.reach}"
        following_place = plan.steps[following].place
        reason = f"{place} left out" if skipped and following == state.step + 1 else f"{place} passed"
        if state.hastened is not None:
            reason = f"{state.hastened.actor} does not wait for proof"
        return Advance(
            step=following, share=share, reason=f"{reason}: on to {following_place}", skipped=skipped
        )
    return Promote(reason=f"passed at {state.share}")


def _following(plan: Plan, state: RolloutState, steering: Release | None) -> tuple[int, str | None]:
    """(the next step, why others before it are left out)."""
    last = len(plan.steps) - 1
    if state.hastened is not None:
        return max(last, state.step + 1), state.hastened.reason
    step, skip = state.step + 1, steering.skip if steering else None
    if skip is None:
        return step, None
    while step < last - 1 and plan.steps[step].share in skip.shares:
        step += 1
    left_out = step > state.step + 1 or _is_skipped(plan, state, steering)
    return step, skip.reason if left_out else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    """A version may not begin, and why. `blocked` tells a denial from a mere wait."""

    reason: str
    blocked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedSuite:
    """A suite that the policy asks for, with the digests that it has there."""

    name: str
    suite_digest: str
    gates_digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Begin:
    """A version may begin: `reports` are the evaluations that allow it, in the order of the suites asked for."""

    reports: tuple[str, ...]


def admit(
    *, desired: Version, state: RolloutState, plan: Plan, suites: Sequence[AskedSuite]
) -> Begin | Refuse:
    """Whether the version that git desires may begin here. Only fresh, passing evaluations on every suite that the
    policy asks for open the door."""
    if state.candidate is not None:
        return _refuse_beside_another(desired, state, plan)
    if (past := state.quarantine.get(desired.identity)) is not None:
        return Refuse(
            reason=f"these bytes were rolled back on {past.at:%Y-%m-%d %H:%M}: {past.reason};"
            " `rollout quarantine lift`, by two people, lets them begin",
            blocked=True,
        )
    if (rejected := state.refusal_of(desired)) is not None:
        again = "`rollout retry`, or a newer change, lets it begin"
        return Refuse(
            reason=f"rejected on {rejected.at:%Y-%m-%d %H:%M}: {rejected.reason}; {again}", blocked=True
        )
    known = state.evaluations.get(desired.identity, ())
    if not known or not suites:
        return Refuse(reason=f"no evaluation of {desired.served_name} is recorded", blocked=True)
    reports = []
    for suite in suites:
        found = _evaluation_on(suite, known, state)
        if isinstance(found, Refuse):
            return found
        reports.append(found)
    return Begin(reports=tuple(reports))


def _evaluation_on(suite: AskedSuite, known: Sequence[Evaluated], state: RolloutState) -> str | Refuse:
    """The report on one suite, as the policy has it now."""
    digests = (suite.suite_digest, suite.gates_digest)
    report = next((each for each in known if (each.suite_digest, each.gates_digest) == digests), None)
    if report is None:
        return Refuse(
            reason=f"it was evaluated on another suite or other gates than the policy names: {suite.name} is missing",
            blocked=True,
        )
    if report.outcome is not Outcome.PASS:
        return Refuse(reason=f"its evaluation on {suite.name} ended with {report.outcome}", blocked=True)
    champion = None if state.stable is None else state.stable.identity
    if report.champion != champion:
        return Refuse(
            reason="it was evaluated against another champion than what is stable now", blocked=True
        )
    return report.report


def _refuse_beside_another(desired: Version, state: RolloutState, plan: Plan) -> Refuse:
    assert state.candidate is not None
    running = state.candidate.served_name
    if plan.on_new_version is OnNewVersion.REJECT:
        return Refuse(reason=f"{running} is under way and the plan rejects newer versions", blocked=True)
    return Refuse(reason=f"{desired.served_name} waits until {running} is done", blocked=False)
