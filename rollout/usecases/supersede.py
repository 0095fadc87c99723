"""A newer version in git while another one is under way: it waits, is rejected, or takes its place by way of stable."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rollout.core.decide import Refuse
from rollout.core.lifecycle import Rejected, Superseded
from rollout.core.plan import OnNewVersion, Plan, Share
from rollout.core.verdict import Analysis
from rollout.errors import RolloutError
from rollout.usecases.begin import Gatekeeper, admissible
from rollout.usecases.release import Desire, read_policy
from rollout.usecases.tick import Move, Tick, Ticking


@dataclass(frozen=True, slots=True, kw_only=True)
class Newer:
    """What git asks for instead of the candidate, and what becomes of it, in a sentence."""

    desire: Desire
    told: str
    supersedes: bool = False


def newer_version(ticking: Ticking, plan: Plan, gatekeeper: Gatekeeper) -> Newer | None:
    """The newer version, if git has one, treated as the plan of the release under way says."""
    candidate, desire = ticking.state.candidate, ticking.desire
    if desire is None or candidate is None or desire.version.identity == candidate.identity:
        return None
    served, running = desire.version.served_name, candidate.served_name
    match plan.on_new_version:
        case OnNewVersion.REJECT:
            return Newer(desire=desire, told=_rejected(ticking, desire, running))
        case OnNewVersion.SUPERSEDE:
            why = _why_it_stays(ticking, desire, gatekeeper)
            told = f"{served} does not supersede {running}: {why}"
            return Newer(desire=desire, told=told, supersedes=why is None)
        case _:
            return Newer(desire=desire, told=f"{served} waits in git until {running} is done")


def _rejected(ticking: Ticking, desire: Desire, running: str) -> str:
    """Recorded once for each change, so that it never begins by itself."""
    if ticking.state.refusal_of(desire.version) is None:
        reason = f"{running} is under way, and its plan rejects newer versions"
        ticking.record(Rejected, rejected=desire.version, reason=reason)
    return (
        f"{desire.version.served_name} is rejected: {running} is under way, and its plan rejects newer versions;"
        f" `rollout retry`, or a newer change, lets it begin once that is done"
    )


def _why_it_stays(ticking: Ticking, desire: Desire, gatekeeper: Gatekeeper) -> str | None:
    """Why the release under way goes on: nothing could begin in its place, or a person has paused it."""
    if (paused := ticking.state.paused) is not None:
        return f"{paused.actor} has paused the release under way"
    try:
        policy = read_policy(ticking.world, desire.manifest.value, desire.policy_commit)
        alone = replace(ticking.state, candidate=None)
        verdict = admissible(ticking, desire, policy, alone, gatekeeper)
    except RolloutError as error:  # It must not keep the release under way from being watched.
        return error.message
    if isinstance(verdict, Refuse):
        return verdict.reason
    return None if ticking.git_still_says_so() else "git has changed meanwhile"


def supersede(ticking: Ticking, newer: Desire, analysis: Analysis) -> Tick:
    """Everybody to stable first, then the ledger, then the routes; the newer version begins with the next tick.

    Killed in between it is simply done again. Nothing is quarantined.
    """
    candidate, served = ticking.state.candidate, newer.version.served_name
    assert candidate is not None
    reason = f"{served} supersedes {candidate.served_name}"
    ticking.turn_flag_off(reason)
    flag = ticking.world.flags.read(ticking.key)
    version = flag.version if flag is not None else ticking.state.flag_version
    ticking.record(Superseded, by=served, reason=reason, flag_version=version)
    ticking.publish(Share.ZERO)
    return ticking.end(Move.SUPERSEDED, f"{reason}: everybody is on stable", analysis=analysis)
