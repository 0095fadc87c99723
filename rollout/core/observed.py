"""Quantiles of a look for people to read. Nothing is judged by them: see marks for that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import floor, isfinite

from rollout.core.metric import MetricSpec


def quantile_name(quantile: float) -> str:
    """As people call it: `P95`."""
    return f"P{quantile * 100:.6g}"


def observed_values(
    spec: MetricSpec, stable: Sequence[float], candidate: Sequence[float]
) -> Mapping[str, tuple[float | None, float | None]]:
    """The quantiles of both arms for people to read, in milliseconds; None where nothing or a time-out is seen."""
    one, other = sorted(stable), sorted(candidate)
    return {quantile_name(q): (_of_values(one, q), _of_values(other, q)) for q in spec.quantiles}


def observed_histogram(
    spec: MetricSpec, edges: Sequence[float], stable: Sequence[int], candidate: Sequence[int]
) -> Mapping[str, tuple[float | None, float | None]]:
    """The same of counts by bucket, taken as evenly spread within each of them."""
    return {
        quantile_name(q): (_of_histogram(edges, stable, q), _of_histogram(edges, candidate, q))
        for q in spec.quantiles
    }


def _of_values(ascending: Sequence[float], quantile: float) -> float | None:
    """The median-unbiased sample quantile, which a small arm does not make look faster than a large one.

    Source: Hyndman and Fan, "Sample Quantiles in Statistical Packages", 1996, definition 8.
    """
    if not ascending:
        return None
    place = (len(ascending) + 1 / 3) * quantile + 1 / 3 - 1
    low = min(max(floor(place), 0), len(ascending) - 1)
    high = min(low + 1, len(ascending) - 1)
    part = min(max(place - low, 0.0), 1.0)
    if not isfinite(ascending[high if part else low]):
        return None
    return ascending[low] + (ascending[high] - ascending[low]) * part


def _of_histogram(edges: Sequence[float], counts: Sequence[int], quantile: float) -> float | None:
    rank, below = sum(counts) * quantile, 0
    for place, count in enumerate(counts):
        if count and below + count >= rank:
            low = edges[place - 1] if place else 0.0
            if not isfinite(edges[place]):
                return None
            return low + (edges[place] - low) * (rank - below) / count
        below += count
    return None
