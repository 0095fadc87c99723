"""Whose answers are the slowest: a look's times of both arms, as counts that the judge can test.

For each quantile and each question the candidate's times are divided by the ratio that the question allows; then the
slowest `1 - quantile` of all of them are marked. Where the mark falls is a matter of both arms' times together and of
nothing else, so that whose the marked ones are is a matter of chance where the arms are alike. Under shared load both
arms are slower, and the mark with them.

Source: the exceedance (precedence) statistic of Mathisen, "A Method of Testing the Hypothesis that Two Samples are
from the Same Population", 1943, with the mark taken from both samples together.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise
from math import ceil, inf

from rollout.core.metric import Counts, Marks, MetricSpec, Test

LENGTHS = (16, 64, 256, 1024)
"""Tokens up to which answers are of like length, and longer than which they are longer."""
_CLOSE = 1e-9
"""What a product of two numbers may be off: an edge at 105 is at 1.05 times 100."""
_SAME = 1e-12
"""What a quotient of two numbers may be off, where equal ones were divided."""


def marks_of_values(
    spec: MetricSpec, stable: Sequence[float], candidate: Sequence[float], *, stratum: str = ""
) -> tuple[Marks, ...]:
    """Whose the slowest are, by quantile and question; nothing if an arm has no times. Times are milliseconds.

    A time-out is `inf`, the slowest of all. With `spec.buckets` the times are counted as a histogram counts them. Raises
    ValueError on a time that is below 0 or no number.
    """
    _refuse_odd(stable)
    _refuse_odd(candidate)
    if spec.buckets is not None:
        edges = (*spec.buckets, inf)
        counted = (counts_of_values(edges, stable), counts_of_values(edges, candidate))
        return marks_of_histogram(spec, edges, *counted, stratum=stratum)
    if not stable or not candidate:
        return ()
    theirs, own, whole, found = sorted(stable), sorted(candidate), (len(stable), len(candidate)), []
    for test in Test:
        ratio = _ratio(spec, test)
        scaled = [each / ratio for each in own]
        found += [
            _marks(test, quantile, stratum, whole, _beyond(theirs, scaled, quantile))
            for quantile in spec.quantiles
        ]
    return _in_order(spec, found)


def marks_of_histogram(
    spec: MetricSpec,
    edges: Sequence[float],
    stable: Sequence[int],
    candidate: Sequence[int],
    *,
    stratum: str = "",
) -> tuple[Marks, ...]:
    """The same of counts by bucket; `edges` are their upper edges in milliseconds, the last one may be `inf`.

    A ratio falls between edges, so that each question is made harder to answer: for harm the candidate is counted from
    the next edge on, for proof from the one before. Raises ValueError if there is not one count for each rising edge.
    """
    _refuse_misshapen(edges, stable, candidate)
    if not sum(stable) or not sum(candidate):
        return ()
    above_stable, above_candidate = _above(stable), _above(candidate)
    found = []
    for test in Test:
        shifted = [_shifted(edges, place, _ratio(spec, test), test) for place in range(len(edges))]
        tails = [(above_stable[place + 1], above_candidate[other + 1]) for place, other in enumerate(shifted)]
        whole = (above_stable[0], above_candidate[0])
        found += [
            _marks(test, quantile, stratum, whole, _nearest(tails, sum(whole), quantile))
            for quantile in spec.quantiles
        ]
    return _in_order(spec, found)


def counts_of_values(edges: Sequence[float], values: Sequence[float]) -> list[int]:
    """How many values each bucket has; a value on an edge is below it. Values beyond the last edge are not counted."""
    counts = [0] * len(edges)
    for value in values:
        place = bisect_left(edges, value)
        if place < len(edges):
            counts[place] += 1
    return counts


def length_class(tokens: int | None) -> str:
    """Which answers are of like length: a stratum for `by_length`."""
    if tokens is None:
        return "unknown length"
    place = bisect_left(LENGTHS, tokens)
    low = LENGTHS[place - 1] + 1 if place else 0
    return f"{low} to {LENGTHS[place]} tokens" if place < len(LENGTHS) else f"{low} tokens or more"


def _beyond(stable: list[float], candidate: list[float], quantile: float) -> tuple[int, int]:
    """How many of each arm are marked; both are in order.

    Equal times are marked together, or none of them: whichever is nearer to the share that is wanted.
    """
    everything = len(stable) + len(candidate)
    wanted = _wanted(everything, quantile)
    # Only the last `wanted` of each arm can be among the last of both.
    mark = sorted(stable[-wanted:] + candidate[-wanted:])[-wanted]
    # Whole milliseconds that were equal still are, though one of them was divided.
    from_it = bisect_left(stable, mark * (1 - _SAME)), bisect_left(candidate, mark * (1 - _SAME))
    beyond = bisect_right(stable, mark * (1 + _SAME)), bisect_right(candidate, mark * (1 + _SAME))
    tails = [(len(stable) - one, len(candidate) - other) for one, other in (from_it, beyond)]
    return _nearest(tails, everything, quantile)


def _wanted(everything: int, quantile: float) -> int:
    return max(1, ceil((1 - quantile) * everything - _CLOSE))


def _nearest(tails: Sequence[tuple[int, int]], everything: int, quantile: float) -> tuple[int, int]:
    """Of the tails that can be marked, the one nearest to what is wanted, the larger of two as near.

    It looks at how many are marked and never at whose they are. Nothing is marked only where nothing can be.
    """
    wanted = _wanted(everything, quantile)
    some = [tail for tail in tails if 0 < sum(tail) < everything]
    return min(some, key=lambda tail: (abs(sum(tail) - wanted), -sum(tail)), default=(0, 0))


def _ratio(spec: MetricSpec, test: Test) -> float:
    if test is Test.HARM:
        return spec.tolerated
    assert spec.max_ratio is not None, "a latency says which ratio it accepts"
    return spec.max_ratio


def _shifted(edges: Sequence[float], place: int, ratio: float, test: Test) -> int:
    """From which edge on the candidate is counted where stable is counted from `place` on."""
    goal = edges[place] * ratio
    if test is Test.HARM:
        return min(bisect_left(edges, goal * (1 - _CLOSE)), len(edges) - 1)
    return bisect_right(edges, goal * (1 + _CLOSE)) - 1


def _above(counts: Sequence[int]) -> list[int]:
    """How many are in a bucket or in a later one, by bucket; 0 at the end."""
    sums = [0]
    for count in reversed(counts):
        sums.append(sums[-1] + count)
    return sums[::-1]


def _marks(
    test: Test, quantile: float, stratum: str, whole: tuple[int, int], marked: tuple[int, int]
) -> Marks:
    return Marks(
        quantile=quantile,
        test=test,
        stratum=stratum,
        stable=Counts(total=whole[0], bad=marked[0]),
        candidate=Counts(total=whole[1], bad=marked[1]),
    )


def _in_order(spec: MetricSpec, found: Sequence[Marks]) -> tuple[Marks, ...]:
    return tuple(sorted(found, key=lambda marks: (spec.quantiles.index(marks.quantile), marks.test)))


def _refuse_odd(times: Sequence[float]) -> None:
    if not all(each >= 0 for each in times):
        raise ValueError("a time is a number, 0 or more")


def _refuse_misshapen(edges: Sequence[float], stable: Sequence[int], candidate: Sequence[int]) -> None:
    if not edges or not len(edges) == len(stable) == len(candidate):
        raise ValueError("a histogram has one count for each edge")
    if not edges[0] > 0 or not all(one < other for one, other in pairwise(edges)):
        raise ValueError("the edges of a histogram rise, and are above 0")
    if min(*stable, *candidate, 0) < 0:
        raise ValueError("a histogram has no count below 0")
