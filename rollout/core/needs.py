"""What one metric needs in one state of a release, in requests, and the harm that it would have seen by then."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from rollout.core.forecast import MOST, Outlook, detectable_harm, requests_to_prove
from rollout.core.metric import Kind, MetricSpec, Requirement, Stage
from rollout.core.plan import Share
from rollout.core.ratebounds import rate_bounds

_PAIRED = Share(50_000)
"""A shadow compares pairs, which is what two arms of the same size are."""
_HALVINGS = 40
_LONGEST_S = 1e10


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Requests a second of the whole adapter (None: not known), where that is from, and stable's rates by metric."""

    per_second: float | None
    told_by: str
    base_rates: Mapping[str, float] = field(default_factory=dict)

    def time_for(self, requests: int, share: Share) -> timedelta | None:
        """How long so many requests of a share take to come; None where nobody knows, or it would be for ever."""
        if self.per_second is None or self.per_second * share.fraction <= 0:
            return None
        seconds = requests / (self.per_second * share.fraction)
        return timedelta(seconds=seconds) if seconds < _LONGEST_S else None

    def requests_in(self, time: timedelta, share: Share) -> int:
        """How many requests of a share come in a time, as far as is known."""
        return int(time.total_seconds() * share.fraction * (self.per_second or 0.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What one metric needs in a state, in requests of the candidate, and what harm it would have seen by then.

    `clean` is without any failure and `usual` at stable's own rate `base`; None is never. `harm` is the least that is
    seen in `seen` requests: a rate, a ratio of times or a loss of score; None where none is.
    """

    spec: MetricSpec
    clean: int | None
    usual: int | None
    base: float | None
    harm: float | None
    seen: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a state asks of its metrics. `alpha` is one metric's part of the release's budget for false rollbacks."""

    stage: Stage
    share: Share
    requires: Requirement
    alpha: float
    alpha_advance: float

    @property
    def arms(self) -> Share:
        """The candidate's part of what is compared."""
        return _PAIRED if self.stage is Stage.SHADOW else self.share


def requests_needed(spec: MetricSpec, asked: Asked, base: float) -> int | None:
    """Requests of the candidate until the metric may pass at this rate of both arms; None if it never does."""
    if asked.stage is Stage.BAKE:
        return _below_limit(spec, base, asked.alpha_advance)
    if asked.requires is Requirement.NO_HARM:
        return spec.min_samples
    outlook = Outlook(base_rate=base)
    return requests_to_prove(spec, asked.arms, alpha_advance=asked.alpha_advance, outlook=outlook)


def harm_seen(spec: MetricSpec, asked: Asked, base: float, requests: int) -> float | None:
    """The least harm that so many requests show; at 100 % the least rate that is shown to be above the limit."""
    if asked.stage is not Stage.BAKE:
        outlook = Outlook(base_rate=base)
        return detectable_harm(spec, asked.arms, requests, alpha=asked.alpha, outlook=outlook)
    limit = _limit(spec)

    def shows(rate: float) -> bool:
        return limit is not None and rate_bounds(rate * requests, requests, asked.alpha)[0] > limit

    if limit is None or not shows(1.0):
        return None
    low, high = limit, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if shows(middle) else (middle, high)
    return high


def _limit(spec: MetricSpec) -> float | None:
    """The share of bad ones that is accepted where no control is left."""
    if spec.kind is Kind.LATENCY and spec.max_ms is not None:
        return 1 - max(spec.quantiles)
    return spec.max_rate if spec.kind is Kind.RATE else None


def _below_limit(spec: MetricSpec, rate: float, alpha: float) -> int | None:
    limit = _limit(spec)
    if limit is None or rate >= limit:
        return None
    number = _least(lambda requests: rate_bounds(rate * requests, requests, alpha)[1] <= limit)
    return None if number is None else max(number, spec.min_samples)


def _least(enough: Callable[[int], bool]) -> int | None:
    """The least number that is enough, where more of it is never less enough."""
    high = 1
    while not enough(high):
        high *= 2
        if high > MOST:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
