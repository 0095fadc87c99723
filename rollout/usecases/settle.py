"""After promotion: undo stays one flag write away, until the window ends and the new version is stable."""

from __future__ import annotations

from datetime import datetime

from rollout.core.drift import Toward, drift
from rollout.core.flag import FlagState
from rollout.core.lifecycle import Settled, Settling
from rollout.core.plan import Share
from rollout.errors import ServingUnavailable
from rollout.usecases.tick import Move, Tick, Ticking


def after_promotion(ticking: Ticking) -> Tick:
    """Wait for the end of the rollback window or for the next release, then settle."""
    if not ticking.state.settling:
        if (withdrawn := ticking.withdrawn()) is not None:
            return ticking.take_back(withdrawn)
        flag = ticking.world.flags.read(ticking.key)
        drifted = drift(ticking.state, flag)
        if drifted is not None and flag is not None and drifted.toward is Toward.SAFETY:
            return ticking.take_over(flag, drifted.reason)
        if drifted is not None:
            return ticking.end(Move.HALTED, drifted.reason)
        over = _window_over(ticking)
        if over is None:
            ticking.keep_serving()
        elif (lacking := ticking.lacking(ticking.state.candidate)) is not None:
            raise ServingUnavailable(lacking, advice="Users may get errors; look at the servers.")
        if (lowered := ticking.state.lowered) is not None:
            why = f"{lowered.reason}; resume the release or take it back"
            return _held(ticking, why, since=lowered.at)
        if (paused := ticking.state.paused) is not None:
            why = f"paused by {paused.actor}: {paused.reason}; resume the release or take it back"
            return _held(ticking, why, since=paused.at)
        if over is None:
            return ticking.end(Move.HELD, "promoted; the previous version stays one flag write away")
        ticking.record(Settling, reason=over)
    return _settle(ticking)


def _held(ticking: Ticking, why: str, *, since: datetime | None) -> Tick:
    """Nothing is taken back by its time any more: a wait beyond the plan's deadline is told to a person."""
    _, policy = ticking.release()
    longest = policy.plan.deadline
    if since is not None and ticking.world.clock.now() - since <= longest:
        return ticking.end(Move.HELD, why)
    return ticking.end(Move.OVERDUE, f"the deadline of {longest} passed: {why}")


def _window_over(ticking: Ticking) -> str | None:
    state, desire = ticking.state, ticking.desire
    assert state.entered_at is not None
    assert state.candidate is not None
    newer = desire is not None and desire.version.identity != state.candidate.identity
    if desire is not None and newer and ticking.git_still_says_so():
        return f"the next release, {desire.version.served_name}, is waiting"
    _, policy = ticking.release()
    if ticking.world.clock.now() - state.entered_at >= policy.plan.rollback_window:
        return f"the rollback window of {policy.plan.rollback_window} is over"
    return None


def _settle(ticking: Ticking) -> Tick:
    """Routes first, then the flag, then the ledger: no request in between is answered by the old version."""
    flag = ticking.world.flags.read(ticking.key)
    if flag is None or not (flag.on and (flag.share == Share.FULL or _is_back_at_zero(ticking, flag))):
        # A person or a rollback was here: the old version must stay the stable one.
        return ticking.end(
            Move.HALTED,
            "the flag was changed while the release was settling: take it back, or set 100 % again",
        )
    revision = ticking.publish(Share.ZERO)
    if behind := ticking.wait_until_heard(0, revision):
        return _held(ticking, "; ".join(behind), since=ticking.state.entered_at)
    written = ticking.write_flag(flag, Share.ZERO, "the new version is stable")
    if behind := ticking.wait_until_heard(written.version, revision):
        return _held(ticking, "; ".join(behind), since=ticking.state.entered_at)
    ticking.record(Settled, flag_version=written.version)
    ticking.publish(Share.ZERO)
    assert ticking.state.stable is not None
    return ticking.end(Move.SETTLED, f"{ticking.state.stable.served_name} is stable")


def _is_back_at_zero(ticking: Ticking, flag: FlagState) -> bool:
    """Whether the flag is at zero by our own write: the one that follows routes in which both slots are new."""
    route = ticking.world.routes.read().routes.get(ticking.book.name)
    published = route is not None and route.stable == route.candidate
    return flag.would_reach.is_nobody and published and flag.version == ticking.state.flag_version + 1
