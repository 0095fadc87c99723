"""What routes and flags together say of each logical name at one moment: served names with their weights."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass

from rollout.core.flag import FlagState
from rollout.core.plan import Share
from rollout.core.routes import Route, Routes


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """One logical name: `share` of its keyed requests to the candidate, the rest to stable, and why it is so."""

    name: str
    route: Route
    flag_version: int | None
    share: Share
    reason: str

    @property
    def targets(self) -> tuple[tuple[str, int], ...]:
        """(served name, weight) of those that get anything; weights sum to 100000. Never two of one name."""
        stable, candidate = self.share.weights
        names = ((self.route.stable, stable), (self.route.candidate, candidate))
        if self.route.candidate == self.route.stable:
            names = ((self.route.stable, stable + candidate), (None, 0))
        return tuple((served, weight) for served, weight in names if served is not None and weight)


def splits(routes: Routes, flags: Mapping[str, FlagState], held: Container[str] = ()) -> tuple[Split, ...]:
    """The splits of all logical names, sorted: stable on any doubt, as a gateway decides.

    `flags` are by their key; one that is not there gives nobody the candidate. `held` are served adapters that
    nobody gets.
    """
    return tuple(
        _split(name, route, flags.get(route.flag), held) for name, route in sorted(routes.routes.items())
    )


def _split(name: str, route: Route, flag: FlagState | None, held: Container[str]) -> Split:
    share, reason = Share.ZERO, "the flag gives the candidate nothing"
    if route.candidate is None:
        reason = "there is no candidate"
    elif flag is None:
        reason = f"there is no flag {route.flag}"
    elif route.candidate in held:
        reason = "the candidate is held"
    elif flag.version < route.min_flag_version:
        reason = f"the flag is at version {flag.version}, and speaks of an older candidate"
    elif flag.effective > Share.ZERO:
        share, reason = flag.effective, f"flag version {flag.version}"
    elif not flag.reach.is_nobody:
        reason = "only a ring is given the candidate, by name: weights cannot say that"
    version = None if flag is None else flag.version
    return Split(name=name, route=route, flag_version=version, share=share, reason=reason)
