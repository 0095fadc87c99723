"""One metric of one side: its value, how many answers it rests on, and how sure it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import comb, fsum, isfinite
from types import MappingProxyType

from rollout.core.evaluation import Estimate, Measured, ShardTimings, Side, Timing
from rollout.core.paired import bootstrap_interval, share_interval
from rollout.core.score import Unit, metric
from rollout.core.verdict import Interval


def estimate(measured: Measured, name: str, side: Side) -> Estimate:
    """The mean over the cases that have the metric."""
    values = scores_of(measured, name, side)
    if not values:
        return Estimate(value=None, n=0)
    mean = fsum(values) / len(values)
    return Estimate(value=mean if isfinite(mean) else None, n=len(values))


def scores_of(measured: Measured, name: str, side: Side) -> list[float]:
    """The metric of every case that has it."""
    return [scores[name] for case in measured.cases if name in (scores := case.scores.get(side, {}))]


def lacking(measured: Measured, name: str) -> list[str]:
    """Items where another side has the metric and the candidate has not: a mean of the others flatters it."""
    return [
        case.id
        for case in measured.cases
        if name not in case.scores.get(Side.CANDIDATE, {})
        and any(name in scores for scores in case.scores.values())
    ]


def shows(interval: Interval | None, least: float | None, most: float | None) -> bool:
    """Whether an interval lies within limits."""
    if interval is None:
        return False
    return (least is None or interval.low >= least) and (most is None or interval.high <= most)


def mean_interval(values: Sequence[float], name: str, confidence: float, seed: int) -> Interval:
    """Two-sided interval of a mean: Wilson's for yes and no, bootstrap for scores. Values must be finite."""
    if metric(name).unit is Unit.SHARE and set(values) <= {0.0, 1.0}:
        return share_interval(round(fsum(values)), len(values), confidence)
    return bootstrap_interval(values, confidence, seed)


def timed_estimate(shards: Sequence[ShardTimings], name: str, side: Side) -> Estimate:
    """A figure of the answers that were timed alone: a quantile of their times, or their tokens per second.

    One time that is not finite leaves the figure without a value.
    """
    timings = [timing for shard in shards for timing in shard.timings.get(side, ())]
    if name == "tokens_per_second":
        return _speed(timings)
    field, share = _QUANTILES[name]
    times = [_time(timing, field) for timing in timings]
    known = [time for time in times if time is not None]
    if not known or len(known) != len(times):
        return Estimate(value=None, n=0 if not known else len(times))
    return Estimate(value=quantile(known, share), n=len(known))


def timed_interval(
    shards: Sequence[ShardTimings], name: str, side: Side, confidence: float
) -> Interval | None:
    """Two-sided interval of a quantile, from order statistics; None for what is no quantile."""
    if name not in _QUANTILES:
        return None
    field, share = _QUANTILES[name]
    times = [_time(timing, field) for shard in shards for timing in shard.timings.get(side, ())]
    return quantile_interval([time for time in times if time is not None], share, confidence)


def quantile(values: Sequence[float], share: float) -> float:
    """The quantile by linear interpolation between order statistics. Raises ValueError if there is no value."""
    if not values:
        raise ValueError("there is no value to take a quantile of")
    ordered = sorted(values)
    place = (len(ordered) - 1) * share
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def quantile_interval(values: Sequence[float], share: float, confidence: float) -> Interval | None:
    """Distribution-free two-sided interval of a quantile, between two order statistics.

    Where the sample is too small for an end, that end is the smallest or largest value, and covers less than
    the confidence. Source: David and Nagaraja, Order Statistics, section 7.1.
    """
    if not values:
        return None
    ordered, n, tail = sorted(values), len(values), (1 - confidence) / 2
    low = high = 0
    below = 0.0  # P(at most `place` values lie below the quantile)
    for place in range(n):
        below += comb(n, place) * share**place * (1 - share) ** (n - place)
        low = place if below <= tail else low
        if below >= 1 - tail:
            high = place
            break
    else:
        high = n - 1
    return Interval(low=ordered[low], high=ordered[high], confidence=confidence)


_QUANTILES: Mapping[str, tuple[str, float]] = MappingProxyType(
    {
        "latency_p50_ms": ("milliseconds", 0.5),
        "latency_p95_ms": ("milliseconds", 0.95),
        "latency_p99_ms": ("milliseconds", 0.99),
        "ttft_p50_ms": ("first_token_ms", 0.5),
        "ttft_p95_ms": ("first_token_ms", 0.95),
    }
)


def _time(timing: Timing, field: str) -> float | None:
    return timing.milliseconds if field == "milliseconds" else timing.first_token_ms


def _speed(timings: Sequence[Timing]) -> Estimate:
    spent = [timing.milliseconds for timing in timings if timing.milliseconds is not None]
    if len(spent) != len(timings) or not spent or fsum(spent) <= 0:
        return Estimate(value=None, n=len(timings))
    return Estimate(value=1000 * sum(timing.tokens for timing in timings) / fsum(spent), n=len(spent))
