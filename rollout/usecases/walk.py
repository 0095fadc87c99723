"""A release under way: look, judge, decide, and go one step at most."""

from __future__ import annotations

from typing import assert_never

from rollout.core.decide import Advance, Coverage, Halt, Hold, Promote, RollBack, decide, shown_harm
from rollout.core.flag import FlagState
from rollout.core.lifecycle import Intended, Promoted, Shifted
from rollout.core.manifest import AdapterManifest
from rollout.core.plan import Share
from rollout.errors import LoadRefused, Unavailable, Unreadable
from rollout.usecases.coverage import cover
from rollout.usecases.look import look
from rollout.usecases.release import ReleasePolicy
from rollout.usecases.tick import Move, Tick, Ticking


def walk(ticking: Ticking) -> Tick:
    """The next move of the release under way.

    The look comes first: whatever else is broken, shown harm is taken back.
    """
    candidate, policy = ticking.release()
    analysis = look(ticking.world, ticking.book, policy)
    if (harm := shown_harm(policy.plan, ticking.state, analysis)) is not None:
        return ticking.take_back(harm.reason, analysis=analysis)
    ticking.ask_git()
    if (withdrawn := ticking.withdrawn()) is not None:
        return ticking.take_back(withdrawn, analysis=analysis)
    if _confirm_what_was_written(ticking):
        return ticking.end(
            Move.ADVANCED, f"confirmed the step to {ticking.state.share}", waiting=_waiting(ticking)
        )
    revision = ticking.publish(policy.mirror, policy.golden.response_schema)
    coverage = _coverage(ticking, candidate, policy, revision)
    flag = ticking.world.flags.read(ticking.key)
    decision = decide(
        plan=policy.plan,
        state=ticking.state,
        flag=flag,
        coverage=coverage,
        analysis=analysis,
        now=ticking.world.clock.now(),
    )
    waiting = _waiting(ticking)
    match decision:
        case Hold(reason=reason, final=final):
            move = Move.OVERDUE if final else Move.HELD
            return ticking.end(move, reason, analysis=analysis, waiting=waiting)
        case Advance(step=step, share=share, reason=reason):
            assert flag is not None
            _shift(ticking, flag, step, share, reason)
            return ticking.end(Move.ADVANCED, reason, analysis=analysis, waiting=waiting)
        case Promote(reason=reason):
            ticking.record(Promoted, reason=reason)
            return ticking.end(Move.PROMOTED, reason, analysis=analysis, waiting=waiting)
        case RollBack(reason=reason):
            return ticking.take_back(reason, analysis=analysis)
        case Halt(reason=reason):
            return ticking.end(Move.HALTED, reason, analysis=analysis, waiting=waiting)
        case _:
            assert_never(decision)


def _waiting(ticking: Ticking) -> str | None:
    """The newer version that must wait, if git has one."""
    candidate, desire = ticking.state.candidate, ticking.desire
    if desire is None or candidate is None or desire.version.identity == candidate.identity:
        return None
    return f"{desire.version.served_name} waits in git until {candidate.served_name} is done"


def _coverage(ticking: Ticking, candidate: AdapterManifest, policy: ReleasePolicy, revision: int) -> Coverage:
    """Replicas that lack an adapter, gateways that lack the flag or the routes, and a git that is silent."""
    world = ticking.world
    try:
        replicas = cover(world, ticking.needed(candidate), prove=candidate, golden=policy.golden)
    except (LoadRefused, Unreadable, Unavailable) as error:
        return Coverage(replicas=len(world.replicas), missing=(error.message,))
    silent = [f"git: {ticking.blind}"] if ticking.blind else []
    missing = (*replicas.missing, *_behind(ticking, revision), *silent)
    return Coverage(replicas=replicas.replicas, missing=missing)


def _behind(ticking: Ticking, revision: int) -> list[str]:
    """The gateways that do not answer, or have not read the latest flag and routes."""
    behind = []
    candidate = ticking.state.candidate
    for gateway in ticking.world.gateways:
        try:
            status = gateway.status()
            heard = status.has_heard(ticking.key, ticking.state.flag_version, revision)
            if candidate is not None and candidate.served_name in status.held:
                # Somebody has pulled the brake: numbers of requests that stable answered prove nothing.
                behind.append(
                    f"gateway {gateway.name} holds {candidate.served_name}: lift it, or roll it back"
                )
        except Unavailable as error:
            behind.append(f"gateway {gateway.name}: {error.message}")
        else:
            if not heard:
                behind.append(f"gateway {gateway.name} has not read the latest flag and routes yet")
    return behind


def _shift(ticking: Ticking, flag: FlagState, step: int, share: Share, reason: str) -> None:
    """Announce, write, confirm. Only the first write of a release turns the flag on."""
    turn_on = ticking.state.share == Share.ZERO
    ticking.record(
        Intended, step=step, share=share, turn_on=turn_on, flag_version=flag.version, reason=reason
    )
    _confirm(ticking, ticking.write_flag(flag, share, f"step {step + 1}, {reason}", turn_on=turn_on), step)


def _confirm_what_was_written(ticking: Ticking) -> bool:
    """A tick died between its flag write and its word for it: the flag shows how far it had come."""
    intent = ticking.state.intent
    flag = None if intent is None else ticking.world.flags.read(ticking.key)
    if intent is None or flag is None or not flag.on or flag.share != intent.share:
        return False
    _confirm(ticking, flag, intent.step)
    return True


def _confirm(ticking: Ticking, flag: FlagState, step: int) -> None:
    """The step's looks begin where every gateway knows of it; a laggard is seen by the next tick."""
    ticking.wait_until_heard(flag.version, 0)
    edge = ticking.world.metrics.edge()
    ticking.record(Shifted, step=step, share=flag.share, flag_version=flag.version, edge=edge)
    ticking.publish(Share.ZERO)
