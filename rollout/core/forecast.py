"""What a metric will need and see: requests until two equal arms are proven to be so, and the harm that a step detects.

It follows the judge's own evidence with the counts that are to be expected, look after look of one size. So it is what
half of the releases will need, roughly; chance makes some twice as fast and others twice as slow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp, log, log1p
from statistics import NormalDist

from rollout.core.betting import STAKES
from rollout.core.metric import Kind, MetricSpec
from rollout.core.plan import Share
from rollout.core.ratebounds import margin_log_e
from rollout.core.stats import ADVANCE_ODDS, HARM_ODDS, mixed_log_e, odds_increments

LATENCY_SPREAD = 0.6
"""Standard deviation of the logarithm of times: a P95 is then 2.7 times the median."""
SCORE_SPREAD = 0.2
"""Standard deviation of a score, and about that of the difference of a pair."""
MOST = 10**8
"""More requests than anybody waits for."""
_LOOK = 4_000
_PATIENCE = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What is known of the traffic to come: stable's rate of bad requests, and how times and scores are spread."""

    base_rate: float = 0.0
    latency_spread: float = LATENCY_SPREAD
    score_spread: float = SCORE_SPREAD

    def __post_init__(self) -> None:
        if not 0 <= self.base_rate < 1 or self.latency_spread <= 0 or self.score_spread <= 0:
            raise ValueError("a rate is 0 or more and below 1, and a spread is above 0")


def requests_to_prove(
    spec: MetricSpec, share: Share, *, alpha_advance: float, outlook: Outlook | None = None
) -> int | None:
    """Requests of the candidate until `no worse` is proven, if both arms are equal; None if it never will be.

    `share` is the candidate's, below 100 %. Pairs of a shadow are told by a share of 50 %. It is never less than
    `spec.min_samples`.
    """
    known = outlook or Outlook()
    needed = log(1 / alpha_advance)
    number = _least(lambda requests: _proof(spec, share.fraction, requests, known) >= needed)
    return None if number is None else max(number, spec.min_samples)


def detectable_harm(
    spec: MetricSpec, share: Share, requests: int, *, alpha: float, outlook: Outlook | None = None
) -> float | None:
    """The least harm that so many requests of the candidate are expected to show; None if none is, however great.

    Of a rate it is the candidate's rate, of a latency the ratio of times, of a score the loss.
    """
    known = outlook or Outlook()
    harms = _harms(spec, known)
    low, high = 0.0, 1.0

    def shows(strength: float) -> bool:
        return _harm(spec, share.fraction, requests, known, harms(strength)) >= log(1 / alpha)

    if requests < 1 or not shows(high):
        return None
    for _ in range(_PATIENCE):
        middle = (low + high) / 2
        low, high = (low, middle) if shows(middle) else (middle, high)
    return harms(high)


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


def _harms(spec: MetricSpec, outlook: Outlook) -> Callable[[float], float]:
    """Harms from what is tolerated (0) to the worst that there is (1)."""
    if spec.kind is Kind.LATENCY:
        return lambda strength: spec.tolerated * exp(strength * 5)
    if spec.kind is Kind.SCORE:
        return lambda strength: spec.tolerated + strength * (1 - spec.tolerated)
    return lambda strength: outlook.base_rate + strength * (0.999 - outlook.base_rate)


def _proof(spec: MetricSpec, share: float, requests: int, outlook: Outlook) -> float:
    effect = spec.design_effect or 1.0
    if spec.kind is Kind.SCORE:
        assert spec.max_abs is not None
        return _bets(requests / effect, spec.max_abs, 1 - spec.max_abs, outlook.score_spread)
    if spec.kind is Kind.LATENCY:
        assert spec.max_ratio is not None
        return (
            min(
                _grown(
                    share, requests, _slower(each, 1 / spec.max_ratio, outlook), 1 - each, 1.0, ADVANCE_ODDS
                )
                for each in spec.quantiles
            )
            / effect
        )
    rate, proofs = outlook.base_rate, []
    if spec.max_abs is not None:
        candidate, stable = requests / effect, requests * (1 - share) / share / effect
        proofs.append(
            margin_log_e(
                candidate=candidate,
                candidate_bad=candidate * rate,
                stable=stable,
                stable_bad=stable * rate,
                margin=spec.max_abs,
            )
        )
    if spec.max_odds is not None:
        proofs.append(_grown(share, requests, rate, rate, spec.max_odds, ADVANCE_ODDS) / effect)
    return mixed_log_e(proofs)


def _harm(spec: MetricSpec, share: float, requests: int, outlook: Outlook, harm: float) -> float:
    effect = spec.design_effect or 1.0
    if spec.kind is Kind.SCORE:
        return _bets(requests / effect, harm - spec.tolerated, 1 + spec.tolerated, outlook.score_spread)
    if spec.kind is Kind.LATENCY:
        grown = [
            _grown(share, requests, _slower(each, harm / spec.tolerated, outlook), 1 - each, 1.0, HARM_ODDS)
            for each in spec.quantiles
        ]
        return mixed_log_e(grown) / effect
    return _grown(share, requests, harm, outlook.base_rate, spec.tolerated, HARM_ODDS) / effect


def _slower(quantile: float, ratio: float, outlook: Outlook) -> float:
    """The share beyond a quantile of stable of times that are `ratio` times as long, if they are lognormal."""
    normal = NormalDist()
    return 1 - normal.cdf(normal.inv_cdf(quantile) - log(ratio) / outlook.latency_spread)


def _grown(
    share: float, requests: int, candidate: float, stable: float, boundary: float, multiples: Sequence[float]
) -> float:
    """Evidence after so many requests of the candidate, from what a large look with the rates of both arms adds."""
    looks = _LOOK * max(1.0, 0.005 / max(share * candidate + (1 - share) * stable, 1e-6))
    own, theirs = max(1, round(looks * share)), max(1, round(looks * (1 - share)))
    bad, others = own * candidate, theirs * stable
    if bad + others < 0.5:
        return 0.0
    added = odds_increments(
        candidate=own,
        candidate_bad=bad,
        stable=theirs,
        stable_bad=others,
        boundary=boundary,
        multiples=multiples,
    )
    return mixed_log_e([each * requests / own for each in added])


def _bets(pairs: float, gain: float, most: float, spread: float) -> float:
    """Evidence of so many differences that are `gain` above the null on average, each bet to the second order."""
    moment = gain * gain + spread * spread
    return mixed_log_e([pairs * _growth(stake / most, gain, moment) for stake in STAKES])


def _growth(stake: float, gain: float, moment: float) -> float:
    """Mean of log(1 + stake * x) for x of two values with this mean and second moment, as bets lose their worst."""
    spread = (moment - gain * gain) ** 0.5
    return sum(log1p(max(stake * (gain + sign * spread), -0.999)) for sign in (-1, 1)) / 2
