"""What is live, how far the release is, and on what evidence: everything read, nothing changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from rollout.core.cooldown import cools_until
from rollout.core.cooldown import told as told_of_cool_down
from rollout.core.decide import time_left
from rollout.core.drift import drift
from rollout.core.exposure import Exposure
from rollout.core.flag import FlagState
from rollout.core.lifecycle import LedgerEntry, Phase, RolloutState
from rollout.core.metric import Kind
from rollout.core.plan import Plan
from rollout.core.verdict import Analysis
from rollout.core.waiting import Cause, Surroundings, Wait, per_second, waits
from rollout.core.window import closed_until
from rollout.errors import RolloutError, Unreadable
from rollout.ports import GatewayStatus, World
from rollout.usecases.book import Book, Signature
from rollout.usecases.calendar import frozen, idle
from rollout.usecases.exposed import exposed
from rollout.usecases.look import analyse, comparison_of
from rollout.usecases.release import ReleasePolicy, find_desire, read_manifest, read_policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """One adapter in one environment. What could not be read is in `unknown`, by sentence.

    `exposure` is who was served since the present step began, and `mismatch` what is wrong with it. `waits` is all that
    stands between a release under way and its next step, but for what only a tick can see: the replicas. `act_at` are
    the odds at which harm is acted on, and at which no worse is proven. `left` is the time to the deadline of a
    release under way, less than nothing behind it.
    """

    name: str
    environment: str
    state: RolloutState
    flag: FlagState | None
    gateways: dict[str, GatewayStatus]
    plan: Plan | None
    analysis: Analysis
    exposure: Exposure | None
    mismatch: str | None
    entries: tuple[LedgerEntry, ...]
    unknown: tuple[str, ...]
    now: datetime
    waits: tuple[Wait, ...] = ()
    left: timedelta | None = None
    act_at: tuple[float, float] | None = None
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    candidate_per_second: float | None = None

    @property
    def overdue(self) -> bool:
        """Whether the deadline of the present state has passed."""
        return self.left is not None and self.left < timedelta(0)


def status(world: World, name: str) -> Status:
    """Everything that can be known now. Only a ledger that cannot be read, or does not know the name, is an error."""
    book = Book(world.ledger, name, Signature(actor="status", environment=world.environment.name))
    if not book.entries:
        raise Unreadable(
            f"the ledger of {world.environment.name} does not know {name!r}",
            advice=f"It knows: {', '.join(world.ledger.names()) or 'none'}.",
        )
    unknown: list[str] = []
    flag: FlagState | None = None
    try:
        flag = world.flags.read(world.environment.flag_key(name))
    except RolloutError as error:
        unknown.append(f"the flag: {error.message}")
    now = world.clock.now()
    policy = _policy(world, book.state, unknown)
    plan = policy.plan if policy is not None else None
    analysis = (
        Analysis() if policy is None or not book.state.phase.under_way else analyse(policy, book.state, now)
    )
    exposure, mismatch = _exposure(world, name, book.state, plan, unknown)
    gateways = _gateways(world, unknown)
    waiting = _cooling(world, name, book.state, unknown, now)
    if plan is not None:
        around = _surroundings(world, book.state, plan, flag, gateways, mismatch, now)
        waiting = waits(plan, book.state, analysis, now, around)
        if not waiting:
            waiting = waits(
                plan, book.state, analysis, now, _as_git_says(world, name, book.state, around, now)
            )
    return Status(
        name=name,
        environment=world.environment.name,
        state=book.state,
        flag=flag,
        gateways=gateways,
        plan=plan,
        analysis=analysis,
        exposure=exposure,
        mismatch=mismatch,
        entries=book.entries,
        unknown=tuple(unknown),
        now=now,
        waits=waiting,
        left=_left(world, plan, book.state, now),
        act_at=None if policy is None else (1 / policy.alpha, 1 / policy.plan.alpha_advance),
        kinds={} if policy is None else {spec.id: spec.kind for spec in policy.metrics.values()},
        candidate_per_second=per_second(book.state, analysis),
    )


def _left(world: World, plan: Plan | None, state: RolloutState, now: datetime) -> timedelta | None:
    """As a tick counts it: without the time in which windows and freezes held the release."""
    if plan is None or not state.phase.under_way:
        return None
    return time_left(plan, state, now, idle(world, plan, state, now))


def _cooling(
    world: World, name: str, state: RolloutState, unknown: list[str], now: datetime
) -> tuple[Wait, ...]:
    """That what git asks for waits for the end of the cool-down. Git is asked only where something was taken back and
    nothing began since."""
    if state.phase is not Phase.TAKEN_BACK or state.rolled_back is None:
        return ()
    try:
        desire = find_desire(world, name)
        stable = state.stable.identity if state.stable else None
        if (
            desire is None
            or desire.version.identity == stable
            or state.is_quarantined(desire.version.identity)
        ):
            return ()
        plan = read_policy(world, desire.manifest.value, desire.policy_commit).plan
    except RolloutError as error:
        unknown.append(f"what git asks for: {error.message}")
        return ()
    until = cools_until(plan, state, desire.version, now)
    return () if until is None else (Wait(cause=Cause.COOL_DOWN, until=told_of_cool_down(until)),)


def _surroundings(
    world: World,
    state: RolloutState,
    plan: Plan,
    flag: FlagState | None,
    gateways: Mapping[str, GatewayStatus],
    mismatch: str | None,
    now: datetime,
) -> Surroundings:
    """What was read of the world, and the windows. Git is not asked."""
    drifted = drift(state, flag) if state.phase.under_way else None
    return Surroundings(
        gateways=tuple(_complaints(world, state, flag, gateways)),
        mismatch=mismatch,
        drifted=None if drifted is None else drifted.reason,
        opens=closed_until(plan.windows, now),
    )


def _complaints(
    world: World, state: RolloutState, flag: FlagState | None, gateways: Mapping[str, GatewayStatus]
) -> Iterator[str]:
    served = state.candidate.served_name if state.candidate else ""
    for gateway in world.gateways:
        found = gateways.get(gateway.name)
        if found is None:
            yield f"{gateway.name} did not answer"
        elif flag is not None and not found.has_heard(flag.key, state.flag_version, 0):
            yield f"{gateway.name} has not read the latest flag yet"
        elif served in found.held:
            yield f"{gateway.name} holds {served}"


def _as_git_says(
    world: World, name: str, state: RolloutState, around: Surroundings, now: datetime
) -> Surroundings:
    """With the freezes and the steering of the newest commit: asked only of a release that nothing else holds."""
    try:
        desire = find_desire(world, name)
    except RolloutError as error:
        return replace(around, frozen=f"git does not say: {error.message}")
    same = (
        desire is not None
        and state.candidate is not None
        and desire.version.identity == state.candidate.identity
    )
    steering = desire.manifest.value.rollout if same and desire is not None else None
    return replace(around, frozen=frozen(world, now), steering=steering)


def _gateways(world: World, unknown: list[str]) -> dict[str, GatewayStatus]:
    found = {}
    for gateway in world.gateways:
        try:
            found[gateway.name] = gateway.status()
        except RolloutError as error:
            unknown.append(error.message)
    return found


def _policy(world: World, state: RolloutState, unknown: list[str]) -> ReleasePolicy | None:
    """That of the release under way; None if none is, or it cannot be read."""
    if state.candidate is None or state.started is None:
        return None
    try:
        manifest = read_manifest(world, state.candidate).value
        return read_policy(world, manifest, state.started.policy_commit)
    except RolloutError as error:
        unknown.append(f"the policy of the release: {error.message}")
        return None


def _exposure(
    world: World, name: str, state: RolloutState, plan: Plan | None, unknown: list[str]
) -> tuple[Exposure | None, str | None]:
    """Of a step that users are at, and that nobody else has turned down."""
    if plan is None or state.phase is not Phase.CANARY or state.step_edge is None or state.lowered:
        return None, None
    try:
        until = world.metrics.edge()
    except RolloutError as error:
        unknown.append(f"who was served: {error.message}")
        return None, None
    exposure, complaint = exposed(
        world,
        comparison_of(world, name, state),
        since=state.step_edge,
        until=until,
        flag_version=state.flag_version,
        share=state.share,
        plan=plan,
    )
    if exposure is None and complaint is not None:
        unknown.append(complaint)
    return exposure, None if exposure is None else complaint
