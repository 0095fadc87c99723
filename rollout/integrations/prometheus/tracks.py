"""Raw samples as Prometheus answers them: counters, buckets of a histogram, and native histograms, all as vectors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf, isfinite

Key = str | tuple[float, float]
"""Of a counter "", of a classic histogram `le`, of a native one a bucket's (lower, upper), or `sum` and `count`."""
Vector = Mapping[Key, float]
Point = tuple[float, Vector]
VALUE, COUNT, SUM = "", "count", "sum"


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """One series and its samples in their order, each with its time in Unix seconds."""

    labels: Mapping[str, str]
    points: Sequence[Point] = field(repr=False)

    def label(self, name: str) -> str:
        """The value of a label; empty if there is none, as Prometheus has it."""
        return self.labels.get(name, "")


def tracks_of(result: object, *, since: float, until: float) -> list[Track]:
    """The tracks of a matrix, of samples in (since, until]. Raises ValueError, or what odd documents lead to."""
    if not isinstance(result, list):
        raise TypeError("is no matrix")
    found = []
    for series in result:
        points: list[Point] = [(float(at), {VALUE: float(value)}) for at, value in series.get("values", ())]
        points += [(float(at), _native(histogram)) for at, histogram in series.get("histograms", ())]
        labels = {str(name): str(value) for name, value in series["metric"].items()}
        inside = sorted((point for point in points if since < point[0] <= until), key=lambda point: point[0])
        found.append(Track(labels=labels, points=inside))
    return [track for track in found if track.points]


def joined(parts: Iterable[Sequence[Track]]) -> list[Track]:
    """The tracks of consecutive windows as those of one."""
    found: dict[frozenset[tuple[str, str]], Track] = {}
    for track in (track for part in parts for track in part):
        key = frozenset(track.labels.items())
        before = found.get(key)
        found[key] = track if before is None else replace(before, points=[*before.points, *track.points])
    return list(found.values())


def whole(tracks: Iterable[Track]) -> list[Track]:
    """Classic histograms put together: the buckets of one are one vector, for they are reset together."""
    groups: dict[frozenset[tuple[str, str]], dict[float, dict[Key, float]]] = {}
    for track in tracks:
        key = frozenset((name, value) for name, value in track.labels.items() if name != "le")
        points = groups.setdefault(key, {})
        for at, vector in track.points:
            mine = vector if track.label("le") == "" else {_edge(track.label("le")): vector[VALUE]}
            points.setdefault(at, {}).update(mine)
    return [Track(labels=dict(key), points=sorted(points.items())) for key, points in groups.items()]


def _edge(le: str) -> str:
    """An edge in one way of writing: Prometheus 3 writes `1.0` where others write `1`."""
    try:
        return repr(float(le))
    except ValueError:
        return le


def odd_value(tracks: Iterable[Track]) -> str | None:
    """What a counter can never be, if any sample is that."""
    for track in tracks:
        for _, vector in track.points:
            for value in vector.values():
                if not isfinite(value) or value < 0:
                    return f"{value:g}"
    return None


def _native(histogram: Mapping[str, object]) -> Vector:
    vector: dict[Key, float] = {COUNT: _number(histogram["count"]), SUM: _number(histogram["sum"])}
    buckets = histogram.get("buckets", ())
    if not isinstance(buckets, list):
        raise TypeError("buckets are a list")
    for _, lower, upper, count in buckets:
        # What is around zero is at most its upper edge.
        vector[max(float(lower), 0.0) if float(upper) > 0 else -inf, float(upper)] = float(count)
    return vector


def _number(value: object) -> float:
    if not isinstance(value, str | int | float):
        raise TypeError("is no number")
    return float(value)
