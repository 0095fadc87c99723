"""One look at one metric: which rows are asked what, by the metric's kind and by whether answers are pairs."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

from rollout.core.alike import moments_by_unit, sum_of
from rollout.core.metric import Comparison, Kind, MetricSpec, Samples, Stage
from rollout.core.seen import pairs_seen, scores_seen, times_seen
from rollout.integrations.trafficlog.counting import count_arm, count_pairs
from rollout.integrations.trafficlog.heaps import heaps_of_arms
from rollout.integrations.trafficlog.scoreheaps import alike_of_arms, alike_of_pairs
from rollout.integrations.trafficlog.slowheaps import heaps_of_times
from rollout.integrations.trafficlog.valued import (
    scores_of_arm,
    scores_of_pairs,
    timed,
    times_of_arm,
    times_of_pairs,
)


def look_at(
    connection: sqlite3.Connection,
    spec: MetricSpec,
    comparison: Comparison,
    window: tuple[int, int],
    *,
    since: str,
    until: str,
) -> Samples:
    """What both arms show in the window of row ids, which the edges `since` and `until` are the names of."""
    asked = connection, spec, comparison
    stable, candidate = (comparison.stable, window), (comparison.candidate, window)
    paired = comparison.stage is Stage.SHADOW
    match spec.kind:
        case Kind.LATENCY:
            if paired:
                return times_seen(spec, *times_of_pairs(*asked, window), since=since, until=until)
            arms_timed = times_of_arm(*asked, *stable), times_of_arm(*asked, *candidate)
            found = times_seen(spec, *map(timed, arms_timed), since=since, until=until)
            return replace(found, slow=heaps_of_times(*asked, window, arms_timed))
        case Kind.SCORE if paired:
            pairs = scores_of_pairs(*asked, window)
            differences = moments_by_unit((unit, own - theirs) for theirs, own, unit in pairs)
            compared = pairs_seen(spec, [pair[:2] for pair in pairs], since=since, until=until)
            return replace(compared, alike=alike_of_pairs(*asked, window, differences))
        case Kind.SCORE:
            scores = scores_of_arm(*asked, *stable), scores_of_arm(*asked, *candidate)
            met = scores_seen(spec, *(sum_of(arm.values()) for arm in scores), since=since, until=until)
            return replace(met, alike=alike_of_arms(*asked, window, scores))
    arms = (
        count_pairs(*asked, window) if paired else (count_arm(*asked, *stable), count_arm(*asked, *candidate))
    )
    return Samples(
        metric=spec.id,
        since=since,
        until=until,
        stable=arms[0].counts,
        candidate=arms[1].counts,
        clusters=heaps_of_arms(*asked, window, arms),
    )
