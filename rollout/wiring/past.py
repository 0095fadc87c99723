"""An environment's past traffic, as a forecast and a simulation ask for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rollout.core.environment import Reach
from rollout.errors import Unreadable

if TYPE_CHECKING:
    from datetime import datetime

    from rollout.core.environment import Environment
    from rollout.core.metric import RequestRecord
    from rollout.integrations.trafficlog.past import PastTraffic
    from rollout.integrations.trafficlog.replayed import ReplayedTraffic

_OFTEN = 5_000


def past_traffic(environment: Environment, root: Path) -> PastTraffic | None:
    """The log of the environment's gateways; None where it does not lie on this machine."""
    from rollout.integrations.trafficlog.past import PastTraffic

    if environment.reach is Reach.GATEWAYS:
        return None
    return PastTraffic(root / environment.metrics.path)


def stable_served(root: Path, environment: str, name: str) -> str:
    """What is stable by the environment's ledger; the base model if nothing is."""
    from rollout.core.lifecycle import fold
    from rollout.wiring.worlds import build_world

    world = build_world(root, environment)
    stable = fold(world.ledger.read(name)).stable
    return world.environment.server.base if stable is None else stable.served_name


def replayed(
    root: Path,
    environment: str,
    name: str,
    window: tuple[datetime, datetime],
    *,
    stable: str,
    candidate: str | None,
    seed: int,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> ReplayedTraffic:
    """Traffic of a time, to be let happen again. Raises Unreadable where there is none, or no log on this machine."""
    from rollout.integrations.trafficlog.replayed import ReplayedTraffic
    from rollout.wiring.places import load_environment

    past = past_traffic(load_environment(environment, root), root)
    if past is None:
        raise Unreadable(f"the traffic log of {environment} does not lie on this machine")
    rows = past.rows(name, since=window[0].timestamp(), until=window[1].timestamp())
    counted = _counted(rows, window, progress)
    return ReplayedTraffic(counted, stable=stable, candidate=candidate, seed=seed)


def _counted(
    rows: Iterable[RequestRecord],
    window: tuple[datetime, datetime],
    progress: Callable[[str, int, int], None],
) -> Iterator[RequestRecord]:
    """The same rows; how far they are is told by the seconds of the window."""
    length = max(1, round((window[1] - window[0]).total_seconds()))
    for number, row in enumerate(rows):
        if number % _OFTEN == 0:
            progress("seconds of the log", round(row.routed_at - window[0].timestamp()), length)
        yield row
