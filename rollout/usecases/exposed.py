"""Was what the flag says really served? Asked of the metric source once a tick, and held against the flag."""

from __future__ import annotations

from rollout.core.exposure import Exposure, exposure_complaint
from rollout.core.metric import Comparison
from rollout.core.plan import Plan, Share
from rollout.errors import RolloutError
from rollout.ports import World


def exposed(
    world: World,
    comparison: Comparison,
    *,
    since: str,
    until: str,
    flag_version: int,
    share: Share,
    plan: Plan,
) -> tuple[Exposure | None, str | None]:
    """Who was served in (since, until] by the flag as it was set to `share`, and what is wrong with it.

    (None, complaint) where the source could not say: what is not known is not right.
    """
    try:
        exposure = world.metrics.exposure(comparison, since=since, until=until, flag_version=flag_version)
    except RolloutError as error:
        return None, f"nobody knows who was served: {error.message}"
    complaint = exposure_complaint(
        exposure, share=share, alpha=plan.sample_ratio_alpha, max_unkeyed=plan.max_unkeyed
    )
    return exposure, complaint
