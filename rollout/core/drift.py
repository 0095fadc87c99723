"""What somebody else did to the flag since we wrote it last: the ledger's word, the flag's, and what was intended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from rollout.core.flag import FlagState
from rollout.core.lifecycle import Intended, RolloutState


class Toward(StrEnum):
    """Where a change by somebody else leads.

    Towards safety it is taken over and the release held; towards exposure, and anywhere else, nothing is touched.
    """

    SAFETY = "safety"
    EXPOSURE = "exposure"
    ELSEWHERE = "elsewhere"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """One change that was not ours, in a sentence."""

    toward: Toward
    reason: str


def drift(state: RolloutState, flag: FlagState | None) -> Drift | None:
    """What was changed since our last confirmed write, or None. A write of ours that nobody confirmed yet is ours."""
    if flag is None:
        return Drift(toward=Toward.ELSEWHERE, reason="the flag is gone: every gateway serves stable")
    who = f"{flag.changed_by} (version {flag.version})"
    if state.cohort is not None and flag.cohort != state.cohort:
        reason = f"{who} changed what draws the users: others than before would get the candidate"
        return Drift(toward=Toward.ELSEWHERE, reason=reason)
    if _is_as_we_left_it(state, flag) or (state.intent is not None and is_written(state.intent, flag)):
        return None
    left = f"it gives {flag.reach}, we had left it at {state.reach}"
    if flag.reach.below(state.reach):
        return Drift(toward=Toward.SAFETY, reason=f"the flag was turned down by {who}: {left}")
    if flag.on:
        return Drift(toward=Toward.EXPOSURE, reason=f"the flag was turned up by {who}: {left}")
    waiting = f"it is off, and would give {flag.would_reach} when it is turned on"
    return Drift(toward=Toward.EXPOSURE, reason=f"the flag was turned up by {who}: {waiting}")


def _is_as_we_left_it(state: RolloutState, flag: FlagState) -> bool:
    """Whether the flag says what the ledger does.

    Of a release that somebody turned off, what the flag would give if it were on says nothing. Once it is resumed, the
    flag may be on its way up already, as far as it had been: whoever turned it down has undone that.
    """
    if (high := state.lowered_reach) is not None:
        most = state.reach if state.lowered is not None else high
        return state.reach.within(flag.reach) and flag.reach.within(most)
    return flag.would_reach == state.reach and (flag.on or state.reach.is_nobody)


def is_written(intent: Intended, flag: FlagState) -> bool:
    """Whether the flag is as this intent leaves it, and nobody wrote in between."""
    ours = flag.version - intent.flag_version in (0, 1)
    return ours and flag.on and flag.would_reach == intent.reach
