"""What will happen to a manifest in an environment: each state of its plan, when, and what it needs. Writes nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from rollout.core.cooldown import cools_until, told
from rollout.core.itinerary import Calendar, Stay, itinerary
from rollout.core.lifecycle import Phase, RolloutState, Version, fold
from rollout.core.metric import Comparison, Kind, MetricSpec, Samples, Stage
from rollout.core.needs import Traffic
from rollout.core.plan import Plan
from rollout.errors import Unavailable
from rollout.ports import World
from rollout.usecases.rehearsed import rehearsed
from rollout.usecases.release import ReleasePolicy, read_manifest, read_policy, version_of
from rollout.usecases.workspace import Workspace

_DAY = timedelta(days=1)
_NOBODY = "-"
_UNCOMMITTED = "0" * 40


class Past(Protocol):
    """A log of past traffic. Times are Unix seconds."""

    def edge(self) -> str:
        """The edge of now."""
        ...

    def edge_at(self, at: float) -> str:
        """The edge of a time."""
        ...

    def per_second(self, name: str, *, since: float, until: float) -> float | None:
        """Requests of users a second, None if there are too few to say."""
        ...

    def samples(self, spec: MetricSpec, comparison: Comparison, *, since: str, until: str) -> Samples:
        """Counts of both arms."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """One manifest's way through one environment, from `now`. `stays` have no times where they are behind it.

    `candidate` is what goes that way, `stable` what it replaces (None: the base model). `here` is the state that it is
    in, None before it began; `waits` says why it does not move by itself there. `false_rollbacks` is how many a year
    are to be expected.
    """

    name: str
    environment: str
    now: datetime
    candidate: str
    stable: str | None
    is_stable: bool
    plan: Plan
    traffic: Traffic
    stays: tuple[Stay, ...]
    here: Stay | None
    waits: str | None
    releases_per_year: float
    false_rollbacks: float


def forecast(
    world: World,
    workspace: Workspace,
    name: str,
    *,
    past: Past | None,
    rate: float | None,
    releases_per_year: float,
) -> Forecast:
    """What is under way is told by its own policy; what is not, by the manifest and the policies in `workspace`."""
    now = world.clock.now()
    state = fold(world.ledger.read(name))
    candidate, policy, next_one = _subject(world, workspace, name, state)
    cooled = None if next_one is None else cools_until(policy.plan, state, next_one, now)
    stable = state.stable.served_name if state.stable else None
    served = stable or world.environment.server.base
    traffic = _traffic(past, name, served, policy.metrics.values(), now=now, rate=rate)
    begun = _place(policy.plan, state)
    stays = itinerary(
        policy.plan,
        policy.metrics,
        alpha=policy.alpha,
        traffic=traffic,
        calendar=_calendar(workspace, policy.plan, world.environment.name),
        begins=(cooled or now) if begun is None or state.entered_at is None else state.entered_at,
        now=now,
        first=begun,
    )
    return Forecast(
        name=name,
        environment=world.environment.name,
        now=now,
        candidate=candidate,
        stable=stable,
        is_stable=candidate == stable,
        plan=policy.plan,
        traffic=traffic,
        stays=stays,
        here=next((each for each in stays if begun is not None and each.step == begun), None),
        waits=_waits(state) if cooled is None else told(cooled),
        releases_per_year=releases_per_year,
        false_rollbacks=policy.plan.alpha * releases_per_year,
    )


def _subject(
    world: World, workspace: Workspace, name: str, state: RolloutState
) -> tuple[str, ReleasePolicy, Version | None]:
    """(served name, policy, None) of what is under way, or of the manifest, which is then the version to begin."""
    if state.candidate is not None and state.started is not None:
        manifest = read_manifest(world, state.candidate).value
        return manifest.served_name, read_policy(world, manifest, state.started.policy_commit), None
    found = workspace.manifest_named(name)
    policy = rehearsed(workspace, found.value.rollout.plan)
    return found.value.served_name, policy, version_of(found, _UNCOMMITTED)


def _place(plan: Plan, state: RolloutState) -> int | None:
    """The state that a release is in, by its step; None if none is under way."""
    if state.phase is Phase.PROMOTED:
        return len(plan.steps)
    if not state.phase.under_way:
        return None
    return -1 if state.phase is Phase.SHADOW else max(0, state.step)


def _waits(state: RolloutState) -> str | None:
    if state.lowered is not None:
        return f"the flag was turned down ({state.lowered.reason}): it waits for `rollout resume`"
    if state.paused is not None:
        return f"paused by {state.paused.actor}: {state.paused.reason}"
    return None


def _calendar(workspace: Workspace, plan: Plan, environment: str) -> Calendar:
    found = workspace.freezes()
    freezes = [
        each
        for each in (found.value.freezes if found else ())
        if not each.environments or environment in each.environments
    ]
    return Calendar(windows=plan.windows, freezes=freezes)


def _traffic(
    past: Past | None,
    name: str,
    served: str,
    metrics: Iterable[MetricSpec],
    *,
    now: datetime,
    rate: float | None,
) -> Traffic:
    """What was asked in the last day, and how stable answered; as far as a log is at hand."""
    given = Traffic(per_second=rate, told_by="as given" if rate is not None else "not known: say --rate")
    if past is None:
        return given
    since = (now - _DAY).timestamp()
    try:
        seen = past.per_second(name, since=since, until=now.timestamp())
        window = past.edge_at(since), past.edge()
        rates = {spec.id: _base_rate(past, name, served, spec, window) for spec in metrics}
    except Unavailable:
        return given
    known = {metric: bad for metric, bad in rates.items() if bad is not None}
    if rate is not None or seen is None:
        return Traffic(per_second=rate, told_by=given.told_by, base_rates=known)
    return Traffic(per_second=seen, told_by="the traffic log of the last day", base_rates=known)


def _base_rate(past: Past, name: str, served: str, spec: MetricSpec, window: tuple[str, str]) -> float | None:
    """How often stable failed; None for what is no rate of the gateways', or where too little was seen."""
    if spec.kind is not Kind.RATE or spec.event is None:
        return None
    stage = Stage.CANARY if Stage.CANARY in spec.stages else Stage.BAKE
    comparison = Comparison(name=name, stable=served, candidate=_NOBODY, stage=stage)
    counts = past.samples(spec, comparison, since=window[0], until=window[1]).stable
    if counts is None or counts.total < spec.min_samples:
        return None
    return counts.bad / counts.total
