"""What pairs show of the plan's metrics, as a source of metrics would tell it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from operator import or_

from rollout.core.alike import alike, moments_by_unit
from rollout.core.metric import Clusters, Counts, Kind, MetricSpec, Pair, RequestRecord, Samples, Unit
from rollout.core.seen import pairs_seen, times_seen
from rollout.core.shadow.events import score_of, time_of, told

_MINUTE_S = 60


def samples_of_pairs(spec: MetricSpec, pairs: Sequence[Pair], *, since: str = "", until: str = "") -> Samples:
    """The samples of a look at these pairs and no others, in their order."""
    match spec.kind:
        case Kind.LATENCY:
            times = [(time_of(spec, pair.stable), time_of(spec, pair.candidate)) for pair in pairs]
            # An answer whose other half has no time compares with nothing.
            both = [(one, other) for one, other in times if one is not None and other is not None]
            stable, candidate = [one for one, _ in both], [other for _, other in both]
            return times_seen(spec, stable, candidate, since=since, until=until)
        case Kind.SCORE:
            scores = [(score_of(spec, each.stable), score_of(spec, each.candidate), each) for each in pairs]
            known = [
                (one, other, each) for one, other, each in scores if one is not None and other is not None
            ]
            compared = pairs_seen(spec, [both[:2] for both in known], since=since, until=until)
            by_unit = moments_by_unit((_unit(each.candidate), other - one) for one, other, each in known)
            return replace(compared, alike=(alike(by_unit),) if by_unit else ())
    return _rate(spec, pairs, since, until)


def _rate(spec: MetricSpec, pairs: Sequence[Pair], since: str, until: str) -> Samples:
    """How many requests, or units a minute, count for a metric, and how many of them are bad."""
    voices: dict[tuple[str, int], tuple[bool, ...]] = {}
    units: dict[tuple[str, int], str | None] = {}
    for pair in pairs:
        voice = _voice(spec, pair.stable)
        found = *told(spec, pair.stable), *told(spec, pair.candidate)
        voices[voice] = tuple(map(or_, voices.get(voice, (False,) * 4), found))
        units[voice] = _unit(pair.stable)
    sums = [sum(each[place] for each in voices.values()) for place in range(4)]
    arms = [
        [(units[voice], each[place + 1]) for voice, each in voices.items() if each[place]] for place in (0, 2)
    ]
    clusters = _clusters(arms[0]), _clusters(arms[1])
    return Samples(
        metric=spec.id,
        since=since,
        until=until,
        stable=Counts(total=sums[0], bad=sums[1]),
        candidate=Counts(total=sums[2], bad=sums[3]),
        clusters=clusters if any(arm.total for arm in clusters) else None,
    )


def _clusters(requests: Sequence[tuple[str | None, bool]]) -> Clusters:
    whole = Counter(unit for unit, _ in requests if unit is not None)
    heaps = Counter(unit for unit, bad in requests if bad and unit is not None)
    return Clusters(
        total=whole.total(),
        bad=heaps.total(),
        others=sum(heap * (whole[unit] - 1) for unit, heap in heaps.items()),
        alike=sum(heap * (heap - 1) for heap in heaps.values()),
    )


def _voice(spec: MetricSpec, record: RequestRecord) -> tuple[str, int]:
    unit = _unit(record)
    if spec.per is Unit.REQUEST or unit is None:
        return record.request_id, 0
    return unit, int(record.routed_at / _MINUTE_S)


def _unit(record: RequestRecord) -> str | None:
    return record.key_hash or record.conversation_hash
