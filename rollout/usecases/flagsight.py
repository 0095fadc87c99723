"""What a dial says, and what each gateway has of it: `rollout flag watch`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rollout.core.flag import FlagState
from rollout.errors import RolloutError
from rollout.ports import FlagStore, Gateway


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySight:
    """What one gateway has: the flag's version (None if it has none), how old it is in seconds, where from."""

    gateway: str
    version: int | None
    age_s: float | None
    source: str | None
    complaint: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagSight:
    """A flag and the gateways at one moment. `complaint` says why there is no `state`."""

    key: str
    state: FlagState | None
    complaint: str | None
    gateways: tuple[GatewaySight, ...]

    @property
    def converged(self) -> bool:
        """Whether every gateway has this version or a newer one."""
        state = self.state
        return state is not None and all(
            each.version is not None and each.version >= state.version for each in self.gateways
        )

    @property
    def news(self) -> tuple[object, ...]:
        """What is worth telling when it differs from the look before: not that time has passed."""
        state = self.state
        flag = None if state is None else (state.version, state.on, state.would_reach, state.changed_by)
        heard = [(each.gateway, each.version, each.source, each.complaint) for each in self.gateways]
        return flag, self.complaint, *heard


def see_flag(flags: FlagStore, gateways: Sequence[Gateway], key: str) -> FlagSight:
    """Look once; whoever does not answer is a complaint, never an error."""
    state, complaint = None, None
    try:
        state = flags.read(key)
        complaint = f"there is no flag {key}" if state is None else None
    except RolloutError as error:
        complaint = error.message
    seen = tuple(_seen(gateway, key) for gateway in gateways)
    return FlagSight(key=key, state=state, complaint=complaint, gateways=seen)


def _seen(gateway: Gateway, key: str) -> GatewaySight:
    try:
        status = gateway.status()
    except RolloutError as error:
        return GatewaySight(
            gateway=gateway.name, version=None, age_s=None, source=None, complaint=error.message
        )
    return GatewaySight(
        gateway=gateway.name,
        version=status.flag_versions.get(key),
        age_s=status.flag_age_s,
        source=status.flag_source,
        complaint=None,
    )
