"""A release under way: look, judge, decide, and go one step at most."""

from __future__ import annotations

from contextlib import suppress
from typing import assert_never

from rollout.core.decide import (
    Adopt,
    Advance,
    Coverage,
    Halt,
    Hold,
    Promote,
    RollBack,
    decide,
    shown_harm,
    unheeded_harm,
)
from rollout.core.drift import is_written
from rollout.core.flag import FlagState
from rollout.core.lifecycle import Forgone, Heard, Intended, Phase, Promoted, RolloutState, Shifted
from rollout.core.manifest import AdapterManifest, Release
from rollout.core.plan import Share
from rollout.core.ring import marks
from rollout.errors import FlagAwaitsApproval, LoadRefused, Unavailable, Unreadable
from rollout.usecases.begin import Gatekeeper
from rollout.usecases.calendar import closed, closed_for, is_late
from rollout.usecases.coverage import cover
from rollout.usecases.exposed import exposed
from rollout.usecases.look import comparison_of, look
from rollout.usecases.release import ReleasePolicy
from rollout.usecases.supersede import newer_version, supersede
from rollout.usecases.tick import Move, Tick, Ticking


def walk(ticking: Ticking, gatekeeper: Gatekeeper) -> Tick:
    """The next move of the release under way.

    The look comes first: whatever else is broken, shown harm is taken back. Harm that a look of before has shown, and
    whose tick died behind it, comes before this one.
    """
    candidate, policy = ticking.release()
    if (unheeded := unheeded_harm(policy.plan, ticking.state)) is not None:
        return ticking.take_back(unheeded.reason)
    analysis = look(ticking.world, ticking.book, policy)
    if (harm := shown_harm(policy.plan, ticking.state, analysis)) is not None:
        return ticking.take_back(harm.reason, analysis=analysis)
    ticking.ask_git()
    if (withdrawn := ticking.withdrawn()) is not None:
        return ticking.take_back(withdrawn, analysis=analysis)
    newer = newer_version(ticking, policy.plan, gatekeeper)
    if newer is not None and newer.supersedes:
        return supersede(ticking, newer.desire, analysis)
    waiting = newer.told if newer is not None else None
    flag = ticking.world.flags.read(ticking.key)
    if (ours := _unconfirmed(ticking, flag)) is not None:
        _confirm(ticking, ours)
        return ticking.end(Move.ADVANCED, f"confirmed the step to {ticking.state.reach}", waiting=waiting)
    revision = ticking.publish(policy.mirror, policy.golden.response_schema)
    _begin_the_clock(ticking)
    now = ticking.world.clock.now()
    coverage = _coverage(ticking, candidate, policy, revision)
    decision = decide(
        plan=policy.plan,
        state=ticking.state,
        flag=flag,
        coverage=coverage,
        analysis=analysis,
        now=now,
        mismatch=_mismatch(ticking, policy),
        closed=closed(ticking.world, policy.plan.windows, now),
        closed_for=closed_for(ticking.world, policy.plan, ticking.state, now),
        steering=_steering(ticking, candidate),
    )
    match decision:
        case Hold(reason=reason, final=final):
            move = Move.OVERDUE if final else Move.HELD
            if ticking.state.intent is not None:
                ticking.record(Forgone, reason=reason)
            return ticking.end(move, reason, analysis=analysis, waiting=waiting)
        case Advance():
            assert flag is not None
            move, said = _shift(ticking, flag, decision, policy)
            said = "; ".join(each for each in (said, coverage.no_way_back) if each)
            return ticking.end(move, said, analysis=analysis, waiting=waiting)
        case Promote(reason=reason):
            ticking.record(Promoted, reason=reason)
            return ticking.end(Move.PROMOTED, reason, analysis=analysis, waiting=waiting)
        case RollBack(reason=reason):
            return ticking.take_back(reason, analysis=analysis)
        case Adopt(reason=reason):
            assert flag is not None
            return ticking.take_over(flag, reason)
        case Halt(reason=reason):
            return ticking.end(Move.HALTED, reason, analysis=analysis, waiting=waiting)
        case _:
            assert_never(decision)


def _mismatch(ticking: Ticking, policy: ReleasePolicy) -> str | None:
    """How what was served since the step began differs from what the flag says; None where it does not."""
    state = ticking.state
    if state.phase is not Phase.CANARY or state.step_edge is None or state.edge is None or state.lowered:
        return None
    _, complaint = exposed(
        ticking.world,
        comparison_of(ticking.world, ticking.book.name, state),
        since=state.step_edge,
        until=state.edge,
        flag_version=state.flag_version,
        share=state.share,
        plan=policy.plan,
    )
    return complaint


def _steering(ticking: Ticking, candidate: AdapterManifest) -> Release:
    """What the newest manifest of this very version asks for; the one that it began with, where git has another."""
    desire = ticking.desire
    same = desire is not None and desire.manifest.value.identity == candidate.identity
    return desire.manifest.value.rollout if desire is not None and same else candidate.rollout


def _coverage(ticking: Ticking, candidate: AdapterManifest, policy: ReleasePolicy, revision: int) -> Coverage:
    """Replicas that lack an adapter, gateways that lack the flag or the routes, and a git that is silent."""
    world = ticking.world
    try:
        no_way_back = ticking.lacking(ticking.state.stable)
        replicas = cover(world, [candidate], prove=candidate, golden=policy.golden)
    except (LoadRefused, Unreadable, Unavailable) as error:
        return Coverage(replicas=len(world.replicas), missing=(error.message,))
    silent = [f"git: {ticking.blind}"] if ticking.blind else []
    if ticking.desire is None and not ticking.blind:
        silent.append(
            "git asks for no version of it any more: bring its manifest back, or take the release back"
        )
    behind = ticking.behind(ticking.state.flag_version, revision)
    missing = (*replicas.missing, *behind, *_unfit(ticking), *silent)
    return Coverage(replicas=replicas.replicas, missing=missing, no_way_back=no_way_back)


def _unfit(ticking: Ticking) -> list[str]:
    """Gateways where somebody has pulled the brake, so that requests which stable answered instead prove nothing, and
    gateways that read the flags of different environments."""
    assert ticking.state.candidate is not None
    served, found = ticking.state.candidate.served_name, []
    environments: set[str | None] = set()
    for gateway in ticking.world.gateways:
        with suppress(Unavailable):  # One that does not answer is behind already.
            status = gateway.status()
            environments |= {status.flag_environment} - {None}
            if served in status.held:
                found.append(f"gateway {gateway.name} holds {served}: lift it, or roll it back")
    if len(environments) > 1:
        found.append("gateways read the flags of different environments: look at their SDK keys")
    return found


def _shift(ticking: Ticking, flag: FlagState, decision: Advance, policy: ReleasePolicy) -> tuple[Move, str]:
    """Announce, write, confirm. Only the first write of a release, or of one that was resumed, turns the flag on."""
    step, share, reason = decision.step, decision.share, decision.reason
    ring = policy.plan.ring_at(step)
    turn_on = ticking.state.reach.is_nobody
    if not _is_announced(ticking.state, flag, step, share):
        ticking.record(
            Intended,
            step=step,
            share=share,
            ring=sorted(marks(ring)),
            turn_on=turn_on,
            flag_version=flag.version,
            reason=reason,
            skipped=decision.skipped,
        )
    try:
        comment = f"step {step + 1}, {reason}"
        written = ticking.write_flag(flag, share, comment, turn_on=turn_on, ring=ring)
    except FlagAwaitsApproval as waiting:
        return _waiting_for_approval(ticking, policy), waiting.message
    _confirm(ticking, written)
    return Move.ADVANCED, reason


def _waiting_for_approval(ticking: Ticking, policy: ReleasePolicy) -> Move:
    late = is_late(ticking.world, policy.plan, ticking.state, ticking.world.clock.now())
    return Move.OVERDUE if late else Move.HELD


def _is_announced(state: RolloutState, flag: FlagState, step: int, share: Share) -> bool:
    """Whether the ledger says so already, of a flag that has not moved since."""
    intent = state.intent
    return intent is not None and (intent.step, intent.share, intent.flag_version) == (
        step,
        share,
        flag.version,
    )


def _unconfirmed(ticking: Ticking, flag: FlagState | None) -> FlagState | None:
    """The flag, if it is as our last write left it and the ledger does not say so: its tick died in between."""
    intent = ticking.state.intent
    return flag if intent is not None and flag is not None and is_written(intent, flag) else None


def _confirm(ticking: Ticking, flag: FlagState) -> None:
    """The step's looks begin here. Its time begins where every gateway decides by it, now or at a later tick."""
    intent = ticking.state.intent
    assert intent is not None
    heard = not ticking.wait_until_heard(flag.version, 0)
    edge = ticking.world.metrics.edge()
    ticking.record(
        Shifted,
        step=intent.step,
        share=flag.share,
        ring=sorted(flag.would_reach.ring),
        flag_version=flag.version,
        edge=edge,
        heard=heard,
    )
    ticking.publish(Share.ZERO)


def _begin_the_clock(ticking: Ticking) -> None:
    """A gateway that was late for the step has heard of it by now: only now does it soak."""
    if not ticking.state.heard and not ticking.behind(ticking.state.flag_version, 0):
        ticking.record(Heard, edge=ticking.world.metrics.edge())
