"""What is live, how far the release is, and on what evidence: everything read, nothing changed."""

from __future__ import annotations

from dataclasses import dataclass

from rollout.core.exposure import Exposure
from rollout.core.flag import FlagState
from rollout.core.lifecycle import LedgerEntry, Phase, RolloutState
from rollout.core.plan import Plan
from rollout.core.verdict import Analysis
from rollout.errors import RolloutError, Unreadable
from rollout.ports import GatewayStatus, World
from rollout.usecases.book import Book, Signature
from rollout.usecases.exposed import exposed
from rollout.usecases.look import analyse, comparison_of
from rollout.usecases.release import read_manifest, read_policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """One adapter in one environment. What could not be read is in `unknown`, by sentence.

    `exposure` is who was served since the present step began, and `mismatch` what is wrong with it.
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
    plan, analysis = _evidence(world, book.state, unknown)
    exposure, mismatch = _exposure(world, name, book.state, plan, unknown)
    return Status(
        name=name,
        environment=world.environment.name,
        state=book.state,
        flag=flag,
        gateways=_gateways(world, unknown),
        plan=plan,
        analysis=analysis,
        exposure=exposure,
        mismatch=mismatch,
        entries=book.entries,
        unknown=tuple(unknown),
    )


def _gateways(world: World, unknown: list[str]) -> dict[str, GatewayStatus]:
    found = {}
    for gateway in world.gateways:
        try:
            found[gateway.name] = gateway.status()
        except RolloutError as error:
            unknown.append(error.message)
    return found


def _evidence(world: World, state: RolloutState, unknown: list[str]) -> tuple[Plan | None, Analysis]:
    if state.candidate is None or state.started is None:
        return None, Analysis()
    try:
        manifest = read_manifest(world, state.candidate).value
        policy = read_policy(world, manifest, state.started.policy_commit)
    except RolloutError as error:
        unknown.append(f"the policy of the release: {error.message}")
        return None, Analysis()
    return policy.plan, analyse(policy, state, world.clock.now())


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
