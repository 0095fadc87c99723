"""An environment's past traffic, as a forecast and a simulation ask for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rollout.core.environment import Reach

if TYPE_CHECKING:
    from rollout.core.environment import Environment
    from rollout.integrations.trafficlog.past import PastTraffic


def past_traffic(environment: Environment, root: Path) -> PastTraffic | None:
    """The log of the environment's gateways; None where it does not lie on this machine."""
    from rollout.integrations.trafficlog.past import PastTraffic

    if environment.reach is Reach.GATEWAYS:
        return None
    return PastTraffic(root / environment.metrics.path)
