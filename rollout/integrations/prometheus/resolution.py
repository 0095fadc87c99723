"""Native histograms become coarser while they count: their buckets are put together as the client put them together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from math import isclose

from rollout.errors import MetricsUnavailable
from rollout.integrations.prometheus.tracks import COUNT, Key, Vector

_Bucket = tuple[float, float]


def onto(fine: Vector, coarse: Vector) -> Vector:
    """A histogram in the buckets of a later one, where its own lie within these; those that do not stay as they are."""
    if COUNT not in fine or COUNT not in coarse:
        return fine
    return _moved(fine, dict(_hosts([*_buckets(fine), *_buckets(coarse)], set(_buckets(coarse)))))


def folded(counted: Vector) -> Vector:
    """What was counted in fine and in coarse buckets, in the coarsest of them.

    Raises MetricsUnavailable where they overlap otherwise: nobody knows then what lies where.
    """
    if COUNT not in counted:
        return counted
    found = _moved(counted, dict(_hosts(_buckets(counted), None)))
    for (_, upper), (lower, _) in pairwise(sorted(_buckets(found))):
        if lower < upper and not isclose(lower, upper, rel_tol=1e-9):
            raise MetricsUnavailable("a native histogram changed its buckets within the window")
    return found


def _buckets(vector: Vector) -> list[_Bucket]:
    return [key for key in vector if isinstance(key, tuple)]


def _hosts(buckets: Iterable[_Bucket], allowed: set[_Bucket] | None) -> Iterator[tuple[_Bucket, _Bucket]]:
    """Each bucket and the widest allowed one that it lies within."""
    host: _Bucket | None = None
    for bucket in sorted(set(buckets), key=lambda each: (each[0], -each[1])):
        inside = host is not None and (bucket[1] <= host[1] or isclose(bucket[1], host[1], rel_tol=1e-9))
        if not inside and (allowed is None or bucket in allowed):
            host = bucket
        elif inside and host is not None:
            yield bucket, host


def _moved(vector: Vector, hosts: dict[_Bucket, _Bucket]) -> Vector:
    found: dict[Key, float] = {}
    for key, value in vector.items():
        place = hosts.get(key, key) if isinstance(key, tuple) else key
        found[place] = found.get(place, 0) + value
    return found
