"""The beginning of a release: only what is evaluated, allowed, everywhere and effective enters."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import ValidationError

from rollout.core.cooldown import cools_until, told
from rollout.core.decide import Begin, Refuse, admit
from rollout.core.evaluation import EvalReport
from rollout.core.flagcheck import is_refused, why_not_ready
from rollout.core.gate import is_tampered
from rollout.core.lifecycle import Phase, RolloutState, Started
from rollout.core.plan import Share
from rollout.core.suite import Golden
from rollout.core.verdict import Outcome
from rollout.errors import LoadRefused, Unreadable
from rollout.ports import World
from rollout.usecases.audit import why_not_about
from rollout.usecases.calendar import frozen
from rollout.usecases.coverage import cover
from rollout.usecases.measured import lacking, why_no_ring
from rollout.usecases.release import Desire, ReleasePolicy, read_policy
from rollout.usecases.room import no_room
from rollout.usecases.tick import Move, Tick, Ticking
from rollout.usecases.unloading import sweep

_SERVERS_LACK_STABLE = (
    "Users may get errors; look at the servers. If stable is what is broken, `rollout promote` lets the version that"
    " git asks for begin without it."
)

Gatekeeper = Callable[[World, Desire], str | None]
"""Checks a manifest against the release's policy; the answer is why it is blocked, or None."""


def perhaps_begin(ticking: Ticking, gatekeeper: Gatekeeper) -> Tick:
    """Begin the release that git asks for, if it asks for one and nothing stands against it."""
    _keep_taken_back(ticking)
    ticking.publish(Share.ZERO)
    desire, stable = ticking.desire, ticking.state.stable
    if desire is None or not ticking.state.is_hastened(desire.version.identity):
        ticking.keep_serving(advice=_SERVERS_LACK_STABLE)
    sweep(ticking.world, ticking.book.name, kept=stable)
    if desire is None:
        return ticking.end(Move.IDLE, "git has no manifest of that name")
    if stable is not None and desire.version.identity == stable.identity:
        return ticking.end(Move.IDLE, f"{desire.version.served_name} is stable, as git says")
    policy = read_policy(ticking.world, desire.manifest.value, desire.policy_commit)
    verdict = admissible(ticking, desire, policy, ticking.state, gatekeeper)
    if isinstance(verdict, Refuse):
        return ticking.end(Move.BLOCKED if verdict.blocked else Move.HELD, verdict.reason)
    return _begin(ticking, desire, policy, verdict.reports)


def admissible(
    ticking: Ticking, desire: Desire, policy: ReleasePolicy, state: RolloutState, gatekeeper: Gatekeeper
) -> Begin | Refuse:
    """Whether what git asks for may begin in this state: evaluated, allowed, judged here, and not in a freeze."""
    verdict = admit(desired=desire.version, state=state, plan=policy.plan, suites=policy.asked)
    if isinstance(verdict, Refuse):
        return verdict
    doubts = (
        _doubt(ticking.world, desire, report, golden)
        for report, golden in zip(verdict.reports, policy.goldens, strict=True)
    )
    unasked = lacking(tuple(policy.metrics.values()), ticking.world.environment)
    unnamed = why_no_ring(policy.plan, ticking.world.environment)
    blocked = next((doubt for doubt in (*doubts, *unasked, unnamed) if doubt), None) or gatekeeper(
        ticking.world, desire
    )
    if blocked is not None:
        return Refuse(reason=blocked, blocked=True)
    waits = _why_not_now(ticking, desire, policy, state)
    return verdict if waits is None else Refuse(reason=waits, blocked=False)


def _why_not_now(ticking: Ticking, desire: Desire, policy: ReleasePolicy, state: RolloutState) -> str | None:
    """The cool-down, the freeze, or the other releases, that it has to wait for. What brings back a released manifest
    never waits."""
    if desire.version.manifest_sha256 in ticking.state.released:
        return None
    now = ticking.world.clock.now()
    if (until := cools_until(policy.plan, state, desire.version, now)) is not None:
        return told(until)
    return frozen(ticking.world, now) or no_room(ticking.world, ticking.book.name)


def _keep_taken_back(ticking: Ticking) -> None:
    """A tick that slept through a whole rollback may have turned the flag on and died: the rollback stands."""
    flag = ticking.world.flags.read(ticking.key) if ticking.state.phase is Phase.TAKEN_BACK else None
    if flag is not None and not flag.reach.is_nobody:
        ticking.turn_flag_off("the rollback stands")


def _doubt(world: World, desire: Desire, digest: str, golden: Golden) -> str | None:
    """Why the recorded evaluation cannot be relied on: it is scored and judged again, on the policy's own suite."""
    try:
        report = EvalReport.model_validate_json(world.evidence.get(digest), strict=True)
    except Unreadable as error:
        return error.message
    except ValidationError as error:
        return f"the evaluation report {digest[:12]} cannot be read: {error.errors()[0]['msg']}"
    if report.subject.candidate.identity != desire.version.identity:
        return f"the evaluation report {digest[:12]} speaks of {report.subject.candidate.served_name}"
    if (why := why_not_about(report, golden)) is not None:
        return f"the evaluation report {digest[:12]} is no proof: {why}"
    if is_tampered(report) or report.outcome is not Outcome.PASS:
        return (
            f"the measurements of the evaluation report {digest[:12]} do not pass when they are judged again"
        )
    return None


def _begin(ticking: Ticking, desire: Desire, policy: ReleasePolicy, reports: tuple[str, ...]) -> Tick:
    world, candidate = ticking.world, desire.manifest.value
    try:
        no_way_back = ticking.lacking(ticking.state.stable)
        coverage = cover(world, [candidate], prove=candidate, golden=policy.golden)
    except (LoadRefused, Unreadable) as error:
        return ticking.end(Move.BLOCKED, error.message)
    if not coverage.complete:
        return ticking.end(Move.HELD, coverage.complaint)
    if no_way_back and not ticking.state.is_hastened(desire.version.identity):
        return ticking.end(Move.HELD, no_way_back)
    flag = ticking.flag_at_zero()
    if flag is None:
        return ticking.end(
            Move.HALTED, "the flag gives traffic to a candidate although no release is under way"
        )
    checks = world.flags.checks(ticking.key)
    if (unfit := why_not_ready(checks)) is not None:
        move = Move.BLOCKED if is_refused(checks) else Move.HELD
        return ticking.end(move, f"the flag {ticking.key} is not fit for a release: {unfit}")
    ticking.record(
        Started,
        candidate=desire.version,
        plan=policy.plan.name,
        policy_commit=desire.policy_commit,
        phase=Phase.SHADOW if policy.plan.shadow else Phase.CANARY,
        flag_version=flag.version,
        edge=world.metrics.edge(),
        report=reports[0],
        further_reports=reports[1:],
        cohort=flag.cohort,
    )
    ticking.publish(policy.mirror, policy.golden.response_schema)
    said = f"{desire.version.served_name} enters {ticking.state.phase}"
    return ticking.end(Move.BEGUN, "; ".join(each for each in (said, no_way_back) if each))
