"""What several logs saw of one metric, as what all of them saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from rollout.core.metric import Alike, Clusters, Counts, Marks, MetricSpec, Moments, Samples


def combined(spec: MetricSpec, parts: Mapping[str, Samples], *, since: str, until: str) -> Samples:
    """The samples of all logs, by their marks.

    Each log is a stratum of its own for what is marked: whose answers are the slowest is told among those of one log,
    for another gateway may be a slower machine. An arm that one log lacks is missing. Quantiles and means to read are
    those of the logs, weighted by answers.
    """
    told = [parts[log] for log in sorted(parts)]
    if len(told) == 1:
        return replace(told[0], since=since, until=until)
    return Samples(
        metric=spec.id,
        since=since,
        until=until,
        stable=_sum([part.stable for part in told]),
        candidate=_sum([part.candidate for part in told]),
        marks=tuple(_of_log(log, marks) for log in sorted(parts) for marks in parts[log].marks),
        differences=tuple(each for part in told for each in part.differences),
        moments=_moments([part.moments for part in told]),
        clusters=_clusters([part.clusters for part in told]),
        slow=_slow(told),
        alike=_alike([part.alike for part in told]),
        observed={name: _observed(name, told) for name in told[0].observed},
        query=tuple(dict.fromkeys(each for part in told for each in part.query)),
        late=sum(part.late for part in told),
    )


def _of_log(log: str, marks: Marks) -> Marks:
    return replace(marks, stratum=f"{log}, {marks.stratum}" if marks.stratum else log)


def _sum(arms: Sequence[Counts | None]) -> Counts | None:
    """None if any log lacks the arm: what is missing there is not zero."""
    known = [arm for arm in arms if arm is not None]
    if not known or len(known) != len(arms):
        return None
    return Counts(total=sum(arm.total for arm in known), bad=sum(arm.bad for arm in known))


def _moments(arms: Sequence[tuple[Moments, Moments] | None]) -> tuple[Moments, Moments] | None:
    known = [both for both in arms if both is not None]
    if not known or len(known) != len(arms):
        return None
    stable, candidate = zip(*known, strict=True)
    return _added(stable), _added(candidate)


def _added(moments: Sequence[Moments]) -> Moments:
    return Moments(
        number=sum(each.number for each in moments),
        sum=sum(each.sum for each in moments),
        squares=sum(each.squares for each in moments),
    )


def _clusters(logs: Sequence[tuple[Clusters, Clusters] | None]) -> tuple[Clusters, Clusters] | None:
    """Of the logs that know whose requests are: how they come in heaps there is an estimate for all.

    No log knows what its units asked of other gateways. They are taken to ask all of them alike, so that each request
    has as many others of its unit in every log as it has in its own.
    """
    known = [both for both in logs if both is not None]
    if not known:
        return None
    stable, candidate = zip(*known, strict=True)
    return _of_all(stable), _of_all(candidate)


def _slow(parts: Sequence[Samples]) -> dict[str, tuple[Clusters, Clusters]]:
    """The same of the slowest, by quantile."""
    names = sorted({name for part in parts for name in part.slow})
    found = {name: _clusters([part.slow.get(name) for part in parts]) for name in names}
    return {name: both for name, both in found.items() if both is not None}


def _alike(logs: Sequence[tuple[Alike, ...]]) -> tuple[Alike, ...]:
    """The same of scores."""
    return tuple(_alike_of_all(each) for each in zip(*filter(None, logs), strict=True))


def _alike_of_all(parts: Sequence[Alike]) -> Alike:
    logs = len(parts)
    return Alike(
        number=sum(each.number for each in parts),
        sum=sum(each.sum for each in parts),
        squares=sum(each.squares for each in parts),
        others=logs * sum(each.others for each in parts),
        firsts=logs * sum(each.firsts for each in parts),
        products=logs * sum(each.products for each in parts),
    )


def _of_all(clusters: Sequence[Clusters]) -> Clusters:
    logs = len(clusters)
    return Clusters(
        total=sum(each.total for each in clusters),
        bad=sum(each.bad for each in clusters),
        others=logs * sum(each.others for each in clusters),
        alike=logs * sum(each.alike for each in clusters),
    )


def _observed(name: str, parts: Sequence[Samples]) -> tuple[float | None, float | None]:
    arms = [[(part.stable, part.observed.get(name, (None, None))[0]) for part in parts]]
    arms += [[(part.candidate, part.observed.get(name, (None, None))[1]) for part in parts]]
    stable, candidate = (_weighted(arm) for arm in arms)
    return stable, candidate


def _weighted(logs: Sequence[tuple[Counts | None, float | None]]) -> float | None:
    """None where a log has answers and no value, as where too many of them timed out."""
    seen = [(arm.total, value) for arm, value in logs if arm is not None and arm.total]
    known = [(number, value) for number, value in seen if value is not None]
    if not known or len(known) != len(seen):
        return None
    return sum(number * value for number, value in known) / sum(number for number, _ in known)
