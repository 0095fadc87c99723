"""Let a newer version take the place of a release under way: by way of stable, and only if it may begin itself."""

from __future__ import annotations

from dataclasses import replace

from rollout.core.decide import Begin, admit
from rollout.core.lifecycle import Superseded
from rollout.core.plan import Share
from rollout.core.verdict import Analysis
from rollout.errors import RolloutError
from rollout.usecases.calendar import frozen
from rollout.usecases.release import Desire, read_policy
from rollout.usecases.tick import Move, Tick, Ticking


def newer_version(ticking: Ticking) -> Desire | None:
    """What git asks for instead of the candidate, if nothing that is recorded stands against it.

    A release that somebody paused, and one in a freeze, stays: nothing could begin in its place.
    """
    candidate, desire = ticking.state.candidate, ticking.desire
    if desire is None or candidate is None or desire.version.identity == candidate.identity:
        return None
    if ticking.state.paused is not None or frozen(ticking.world, ticking.world.clock.now()):
        return None
    try:
        policy = read_policy(ticking.world, desire.manifest.value, desire.policy_commit)
    except (
        RolloutError
    ):  # It could not begin either, and must not keep the release under way from being watched.
        return None
    alone = replace(ticking.state, candidate=None)
    verdict = admit(desired=desire.version, state=alone, plan=policy.plan, suites=policy.asked)
    return desire if isinstance(verdict, Begin) and ticking.git_still_says_so() else None


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
