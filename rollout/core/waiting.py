"""What a release under way waits for, and what would let it go on: all of it, not only the first.

`decide` names the first thing that is missing, in the same order; here each has a code, of a closed set, and a sentence
that says what has to happen. Nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from rollout.core.lifecycle import Phase, RolloutState
from rollout.core.manifest import Release
from rollout.core.plan import Plan, Share
from rollout.core.verdict import Analysis, Outcome, Verdict


class Cause(StrEnum):
    """Why a release does not move, as a closed set: the label of a series."""

    TURNED_DOWN = "turned_down"
    PAUSED = "paused"
    ERRORS = "errors"
    DRIFT = "drift"
    GATEWAYS = "gateways"
    TIME = "time"
    SHARE = "share"
    SAMPLES = "samples"
    NO_DATA = "no_data"
    PROOF = "proof"
    HARM = "harm"
    LOOKS = "looks"
    PERSON = "person"
    MANIFEST = "manifest"
    WINDOW = "window"
    FREEZE = "freeze"
    COOL_DOWN = "cool_down"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """One thing that a release waits for. `until` is what has to happen, as the end of "to go on: ...".

    `requests` of the candidate and `time` are set where it is these that have to pass.
    """

    cause: Cause
    until: str
    requests: int | None = None
    time: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What is known besides the ledger: `gateways`, `mismatch` and `frozen` are complaints, `opens` when a window does.

    `drifted` says how the flag is not as the ledger has it.
    """

    gateways: tuple[str, ...] = ()
    mismatch: str | None = None
    drifted: str | None = None
    opens: datetime | None = None
    frozen: str | None = None
    steering: Release | None = None


def waits(
    plan: Plan, state: RolloutState, analysis: Analysis, now: datetime, around: Surroundings
) -> tuple[Wait, ...]:
    """All that stands between this state and the next; nothing where the next tick goes on."""
    if not state.phase.under_way or state.entered_at is None:
        return ()
    stopped = tuple(_stopped(plan, state, around))
    if stopped:
        return stopped
    unready = [
        Wait(cause=Cause.GATEWAYS, until=f"every gateway is there and up to date: {complaint}")
        for complaint in around.gateways
    ]
    proven = _needs_no_proof(plan, state, around.steering)
    missing = () if proven else tuple(_missing(plan, state, analysis, now, around))
    return (*unready, *missing, *_held_back(plan, state, around))


def per_second(state: RolloutState, analysis: Analysis) -> float | None:
    """Requests of the candidate a second that were judged in this state, by the metric that has the fewest."""
    looks = [
        each.candidate_heard_at for each in state.evidence.values() if each.candidate_heard_at is not None
    ]
    if state.entered_at is None or not looks or max(looks) <= state.entered_at:
        return None
    fewest = min((each.samples[1] for each in analysis.verdicts if each.required), default=0)
    return fewest / (max(looks) - state.entered_at).total_seconds() or None


def _stopped(plan: Plan, state: RolloutState, around: Surroundings) -> Iterator[Wait]:
    """What only a person can mend."""
    if around.drifted is not None:
        yield Wait(cause=Cause.DRIFT, until=f"somebody looks at the flag: {around.drifted}")
    if state.errors > plan.error_budget:
        anew = "; where what it needs is gone for good, `rollout resume` begins the step anew"
        yield Wait(
            cause=Cause.ERRORS,
            until=f"a look can be taken again: {state.errors} in a row could not, {plan.error_budget} may"
            + (anew if state.phase is Phase.CANARY and state.step >= 0 else ""),
        )
    if state.lowered is not None:
        yield Wait(
            cause=Cause.TURNED_DOWN,
            until=f"somebody runs `rollout resume`, or takes it back: {state.lowered.reason}",
        )
    elif state.paused is not None:
        yield Wait(
            cause=Cause.PAUSED,
            until=f"{state.paused.actor}, who paused it, or somebody else runs `rollout resume`: {state.paused.reason}",
        )


def _needs_no_proof(plan: Plan, state: RolloutState, steering: Release | None) -> bool:
    if state.hastened is not None:
        return True
    if state.phase is not Phase.CANARY:
        return False
    if state.step < 0 or state.reach.below(plan.reach_at(state.step)):
        return True
    skip = steering.skip if steering else None
    return (
        skip is not None and state.step < len(plan.steps) - 2 and plan.steps[state.step].share in skip.shares
    )


def _missing(
    plan: Plan, state: RolloutState, analysis: Analysis, now: datetime, around: Surroundings
) -> Iterator[Wait]:
    assert state.entered_at is not None
    if not state.heard:
        yield Wait(cause=Cause.GATEWAYS, until="every gateway decides by this step's version of the flag")
        return
    at_least, samples = _demands(plan, state)
    left = at_least - (now - state.entered_at)
    if left > timedelta(0):
        yield Wait(cause=Cause.TIME, until="its time at this share has passed", time=left)
    if around.mismatch is not None:
        yield Wait(cause=Cause.SHARE, until=f"users get what the flag says: {around.mismatch}")
    pace = per_second(state, analysis)
    required = [each for each in analysis.verdicts if each.required]
    few = samples - min((each.samples[1] for each in required), default=0)
    if few > 0:
        yield _requests(Cause.SAMPLES, "candidate", few, pace)
    for verdict in required:
        if verdict.outcome is not Outcome.PASS:
            yield _of_metric(verdict, pace)
    in_a_row = plan.consecutive_successes - max(1, state.passes_in_a_row)
    if in_a_row > 0 and required and analysis.outcome is Outcome.PASS:
        yield Wait(cause=Cause.LOOKS, until=f"{in_a_row} more in a row pass")


def _of_metric(verdict: Verdict, pace: float | None) -> Wait:
    subject = verdict.subject
    if verdict.outcome is Outcome.FAIL:
        return Wait(cause=Cause.HARM, until=f"{subject} shows no harm any more: {verdict.reason}")
    if verdict.outcome is not Outcome.INCONCLUSIVE:
        return Wait(cause=Cause.NO_DATA, until=f"{subject} has data: {verdict.reason}")
    if verdict.projected is None:
        return Wait(cause=Cause.PROOF, until=f"{subject} is proven, which is not in sight: {verdict.reason}")
    return _requests(Cause.PROOF, subject, max(1, verdict.projected - verdict.samples[1]), pace)


def _requests(cause: Cause, of: str, number: int, pace: float | None) -> Wait:
    about = "" if cause is Cause.SAMPLES else "about "
    why = "of the candidate" if cause is Cause.SAMPLES else f"of the candidate decide {of}"
    return Wait(
        cause=cause,
        until=f"{about}{number:,} more requests {why}",
        requests=number,
        time=None if pace is None else timedelta(seconds=min(number / pace, 1e9)),
    )


def _held_back(plan: Plan, state: RolloutState, around: Surroundings) -> Iterator[Wait]:
    """What keeps even a proven release where it is."""
    step = plan.steps[state.step] if state.phase is Phase.CANARY and state.step >= 0 else None
    if step is not None and step.pause is not None and state.cleared < state.step and state.hastened is None:
        yield Wait(
            cause=Cause.PERSON, until=f"{step.pause} runs `rollout resume`: the plan pauses at {step.place}"
        )
    rises = not (step is not None and step.share == Share.FULL and state.share == Share.FULL)
    brake = around.steering.hold if around.steering else None
    if brake is not None and (brake.at is None or (rises and _next_share(plan, state) > brake.at)):
        yield Wait(cause=Cause.MANIFEST, until=f"`hold` leaves the manifest: {brake.reason}")
    if rises and around.frozen is not None:
        yield Wait(cause=Cause.FREEZE, until=f"nothing is frozen: {around.frozen}")
    elif rises and around.opens is not None:
        zone = plan.windows[0].time_zone
        opens = around.opens.astimezone(ZoneInfo(zone))
        yield Wait(cause=Cause.WINDOW, until=f"a window opens {opens:%A %Y-%m-%d %H:%M} {zone}")


def _next_share(plan: Plan, state: RolloutState) -> Share:
    if state.step >= 0 and state.reach.below(plan.reach_at(state.step)):
        return plan.steps[state.step].share
    return plan.steps[min(state.step + 1, len(plan.steps) - 1)].share


def _demands(plan: Plan, state: RolloutState) -> tuple[timedelta, int]:
    if state.phase is Phase.SHADOW and plan.shadow is not None:
        return plan.shadow.duration, plan.shadow.pairs
    step = plan.steps[state.step]
    return step.bake, step.min_samples
