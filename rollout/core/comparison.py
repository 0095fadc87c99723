"""Is the candidate *shown* to be no worse than the champion by more than the margin, on the same items?

`pass` is shown: the interval lies above the margin. `fail` is proven harm: a drop that chance does not explain
(Holm-adjusted over the metrics) and that reaches the margin. Everything else is `inconclusive`, and says how many
items would settle it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum, sqrt

from rollout.core.evaluation import Measured, Rules, Side
from rollout.core.paired import (
    bootstrap_interval,
    exact_drop,
    holm,
    items_to_settle,
    score_interval,
    sign_flip_drop,
)
from rollout.core.score import Unit, metric, shown, signed, signed_number
from rollout.core.suite import OnInconclusive
from rollout.core.verdict import Interval, Outcome, Verdict

FEWEST_SCORES = 20
"""Below so many pairs the bootstrap of a score is not to be believed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """One metric on the items that both sides answered; `gains` are positive where the candidate is better."""

    name: str
    ids: tuple[str, ...]
    gains: tuple[float, ...]
    binary: bool

    @property
    def lost(self) -> int:
        """Items that got worse."""
        return sum(gain < 0 for gain in self.gains)

    @property
    def gained(self) -> int:
        """Items that got better."""
        return sum(gain > 0 for gain in self.gains)

    @property
    def effect(self) -> float:
        """The mean gain."""
        return fsum(self.gains) / len(self.gains)

    def interval(self, confidence: float, seed: int) -> Interval:
        """Of the mean gain: Tango's for yes and no, bootstrap for scores."""
        if self.binary:
            return score_interval(self.lost, self.gained, len(self.gains), confidence)
        return bootstrap_interval(self.gains, confidence, seed)

    def drop(self, seed: int) -> float:
        """One-sided p-value of a drop."""
        return exact_drop(self.lost, self.gained) if self.binary else sign_flip_drop(self.gains, seed)


def pair(measured: Measured, name: str, slice_: str | None = None) -> Pairs:
    """The paired gains of one metric, over all items or one slice."""
    opponent, sign = measured.opponent, metric(name).sign
    found = [
        (item.id, ours[name], theirs[name])
        for item in measured.items
        if (slice_ is None or item.slice == slice_)
        and name in (ours := item.scores.get(Side.CANDIDATE, {}))
        and name in (theirs := item.scores.get(opponent, {}))
    ]
    return Pairs(
        name=name,
        ids=tuple(id_ for id_, _, _ in found),
        gains=tuple(sign * (ours - theirs) for _, ours, theirs in found),
        # By the metric first: a score that happens to be 1 everywhere is still a score.
        binary=metric(name).unit is Unit.SHARE
        and all({ours, theirs} <= {0.0, 1.0} for _, ours, theirs in found),
    )


def two_sided(confidence: float) -> float:
    """The confidence of the two-sided interval whose lower end has the one-sided confidence."""
    return 2 * confidence - 1


def judge_margins(measured: Measured, rules: Rules) -> list[Verdict]:
    paired = {name: pair(measured, name) for name in sorted(rules.champion_margin)}
    adjusted = holm({name: pairs.drop(rules.seed) for name, pairs in paired.items() if pairs.gains})
    return [
        _no_worse(pairs, measured.opponent, rules, adjusted.get(name, 1.0)) for name, pairs in paired.items()
    ]


def _no_worse(pairs: Pairs, opponent: Side, rules: Rules, p: float) -> Verdict:
    of, margin, n = metric(pairs.name), rules.champion_margin[pairs.name], len(pairs.gains)
    subject = f"{opponent}/{pairs.name}"
    if n == 0:
        reason = f"{of.title} was not measured on both sides: no item of the suite applies"
        return Verdict(subject=subject, outcome=Outcome.NO_DATA, reason=reason)
    gain = pairs.interval(two_sided(rules.confidence), rules.seed)
    outcome, why = _settle(pairs, gain, margin, p, 1 - rules.confidence)
    interval = gain if of.sign > 0 else Interval(low=-gain.high, high=-gain.low, confidence=gain.confidence)
    effect = of.sign * pairs.effect
    span = f"{signed_number(interval.low, of.unit)} to {signed_number(interval.high, of.unit)}"
    allowed = shown(margin, of.unit, difference=True)
    reason = f"{of.title} {signed(effect, of.unit)} ({span}), margin {allowed}: {why}"
    if outcome is not Outcome.PASS:
        reason += named([id_ for id_, gain_ in zip(pairs.ids, pairs.gains, strict=True) if gain_ < 0])
    return Verdict(
        subject=subject,
        outcome=outcome,
        reason=reason,
        effect=effect,
        interval=interval,
        samples=(n, n),
        required=outcome is not Outcome.INCONCLUSIVE or rules.on_inconclusive is OnInconclusive.BLOCK,
    )


def _settle(pairs: Pairs, gain: Interval, margin: float, p: float, alpha: float) -> tuple[Outcome, str]:
    n = len(pairs.gains)
    if not pairs.binary and n < FEWEST_SCORES:
        return Outcome.INCONCLUSIVE, f"{n} items are too few for an interval, {FEWEST_SCORES} are the least"
    if gain.low > -margin:
        return Outcome.PASS, "shown to be no worse"
    if p < alpha and pairs.effect <= -margin:
        return Outcome.FAIL, f"proven worse (p {probability(p)} after Holm)"
    needed = items_to_settle(n, lambda scale: _settled(pairs, gain, margin, scale))
    advice = (
        f"about {needed} items like these would settle it" if needed else "more items would not settle it"
    )
    return Outcome.INCONCLUSIVE, f"{n} items cannot exclude a loss beyond the margin; {advice}"


def _settled(pairs: Pairs, gain: Interval, margin: float, scale: float) -> bool:
    """Whether a sample so many times as large, with the same rates, would show either side."""
    if pairs.binary:
        grown = score_interval(
            pairs.lost * scale, pairs.gained * scale, len(pairs.gains) * scale, gain.confidence
        )
        low, high = grown.low, grown.high
    else:
        low = pairs.effect - (pairs.effect - gain.low) / sqrt(scale)
        high = pairs.effect + (gain.high - pairs.effect) / sqrt(scale)
    return low > -margin or (high < 0 and pairs.effect <= -margin)


def named(ids: Sequence[str]) -> str:
    if not ids:
        return ""
    more = f" and {len(ids) - 5} more" if len(ids) > 5 else ""
    return f" [{', '.join(ids[:5])}{more}]"


def probability(p: float) -> str:
    return f"{p:.1g}" if p < 0.001 else f"{p:.3f}"
