"""Counts by bucket of both arms, from classic or native histograms, with edges in milliseconds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf, isclose

from rollout.core.metric import MetricSpec
from rollout.errors import MetricsUnavailable, Unsupported
from rollout.integrations.prometheus.increments import integer
from rollout.integrations.prometheus.tracks import COUNT, Vector

_S = 1000.0


@dataclass(frozen=True, slots=True)
class _Part:
    """One histogram: (lower, upper, number) of each bucket in their order, the last of which ends at `inf`.

    Of a native histogram empty buckets are not there, and between its buckets every edge is known.
    """

    buckets: tuple[tuple[float, float, int], ...]
    is_native: bool

    def up_to(self, edge: float) -> int | None:
        """How many values are at most as large; None if nobody can know."""
        so_far = 0
        for lower, upper, number in self.buckets:
            if isclose(upper, edge, rel_tol=1e-9):
                return so_far + number
            if upper > edge:
                return so_far if self.is_native and lower >= edge * (1 - 1e-9) else None
            so_far += number
        return so_far


@dataclass(frozen=True, slots=True)
class Histogram:
    """The sum of several histograms."""

    parts: tuple[_Part, ...]

    @property
    def total(self) -> int:
        """All values."""
        return sum(part.up_to(inf) or 0 for part in self.parts)

    @property
    def edges(self) -> Iterator[float]:
        """The upper edges of all buckets, in milliseconds."""
        return (upper for part in self.parts for _, upper, _ in part.buckets)

    def up_to(self, edge: float) -> int | None:
        """How many values are at most as large; None if nobody can know."""
        known = [part.up_to(edge) for part in self.parts]
        return None if None in known else sum(each or 0 for each in known)

    def beyond(self, limit_ms: float, what: str) -> int:
        """How many are above a limit. Raises Unsupported where no edge tells."""
        if (below := self.up_to(limit_ms)) is None:
            raise _no_edge(limit_ms, what, self.edges)
        return self.total - below

    def counts(self, edges: Sequence[float]) -> list[int]:
        """By bucket between these edges, each of which must be known."""
        sums = [self.up_to(edge) or 0 for edge in edges]
        return [upper - lower for lower, upper in pairwise((0, *sums))]


def histogram_of(vectors: Sequence[Vector], *, unit_ms: float = _S) -> Histogram:
    """The sum of what several histograms counted. `unit_ms` is what their edges count.

    Raises MetricsUnavailable for buckets that are none.
    """
    told = [vector for vector in vectors if vector]
    return Histogram(
        tuple(_native(each, unit_ms) if COUNT in each else _classic(each, unit_ms) for each in told)
    )


def common_edges(spec: MetricSpec, histograms: Sequence[Histogram]) -> tuple[float, ...]:
    """The edges by which arms are compared, `inf` at the end: those of the metric, or else all that are known of each.

    Raises Unsupported where the metric names an edge that there is not.
    """
    told = [each for each in histograms if each.total]
    known = {round(edge, 6) for each in told for edge in each.edges if edge < inf}
    if spec.buckets is not None:
        for edge in spec.buckets:
            if any(each.up_to(edge) is None for each in told):
                raise _no_edge(edge, "`buckets`", known)
        return (*spec.buckets, inf)
    return (*(edge for edge in sorted(known) if all(each.up_to(edge) is not None for each in told)), inf)


def _no_edge(wanted: float, what: str, known: Iterator[float] | set[float]) -> Unsupported:
    near = sorted({edge for edge in known if edge < inf}, key=lambda edge: abs(edge - wanted))[:4]
    shown = ", ".join(f"{edge:g}" for edge in sorted(near))
    return Unsupported(
        f"the histogram has no edge at {wanted:g} ms, which {what} names",
        advice=f"Its nearest edges are at {shown} ms." if near else "It has none at all.",
    )


def _classic(vector: Vector, unit_ms: float) -> _Part:
    try:
        sums = sorted((float(str(edge)), number) for edge, number in vector.items())
    except ValueError as error:
        raise MetricsUnavailable("a bucket's `le` is no number") from error
    if sums[-1][0] != inf:
        raise MetricsUnavailable("a histogram has no bucket of all values (`le` is `+Inf`)")
    if any(later < earlier for (_, earlier), (_, later) in pairwise(sums)):
        raise MetricsUnavailable("a histogram's buckets do not rise: they are not of one histogram")
    steps = pairwise(((0.0, 0.0), *sums))
    return _Part(
        tuple(
            (low * unit_ms, high * unit_ms, integer(more, "a bucket") - integer(less, "a bucket"))
            for (low, less), (high, more) in steps
        ),
        is_native=False,
    )


def _native(vector: Vector, unit_ms: float) -> _Part:
    found = sorted((*key, number) for key, number in vector.items() if isinstance(key, tuple) and number)
    if found and found[0][1] <= 0:
        raise MetricsUnavailable("a histogram of times has values below 0")
    buckets = [(low * unit_ms, high * unit_ms, integer(number, "a bucket")) for low, high, number in found]
    rest = integer(vector[COUNT], "a histogram") - sum(number for *_, number in buckets)
    if rest < 0:
        raise MetricsUnavailable("a native histogram has more values in its buckets than in all")
    if rest:
        buckets.append((buckets[-1][1] if buckets else 0.0, inf, rest))
    return _Part(tuple(buckets), is_native=True)
