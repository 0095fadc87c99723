"""Is the candidate *shown* to be no worse than another side by more than the margin, on the same items?

`pass` is shown: the interval lies above the margin. `fail` is proven harm: a drop that chance does not explain
(Holm-adjusted over the comparisons) and that reaches the margin. Everything else is `inconclusive`, and says how
many items would settle it. A sample that could not detect its margin, whatever it answered, is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum, isfinite, sqrt

from rollout.core.evaluation import Measured, Rules, Side
from rollout.core.gatefile import Margin, OnInconclusive
from rollout.core.paired import (
    bootstrap_interval,
    effective_number,
    exact_drop,
    fewest_items,
    holm,
    items_to_settle,
    score_interval,
    sign_flip_drop,
    unchanged_width,
)
from rollout.core.score import Unit, metric, shown, signed, signed_number
from rollout.core.verdict import Interval, Outcome, Verdict

FEWEST_SCORES = 20
"""Below so many pairs the bootstrap of a score is not to be believed."""
_RARE = 0.05
"""Where a metric has no bounds, equal differences say that items with another one are rarer than this."""
DEFAULT_MARGIN = Margin(max_loss=0.05)
"""What right answers may lose where no gate that is required names a margin against the champion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """One metric on the items that both sides answered; `gains` are positive where the candidate is better.

    Items of one cluster are not independent and stand together, with the sum of their gains and their number in
    `sizes`: every item counts alike in the effect, and the interval is that of drawing whole clusters. `one_sided`
    are items that have the metric on one side only: what is left of the others speaks for neither. Source: Miller,
    Adding Error Bars to Evals (2024), of questions in clusters.
    """

    name: str
    ids: tuple[str, ...]
    gains: tuple[float, ...]
    sizes: tuple[int, ...]
    binary: bool
    one_sided: tuple[str, ...] = ()

    @property
    def items(self) -> int:
        """How many items there are in all clusters."""
        return sum(self.sizes)

    @property
    def independent(self) -> int:
        """How many items that are independent would tell as much."""
        return effective_number(self.sizes)

    @property
    def counted(self) -> str:
        """How many items the statistics rest on, for people."""
        clusters = self.items != len(self.sizes)
        return f"{self.independent} items" if not clusters else f"clusters worth {self.independent} items"

    @property
    def lost(self) -> int:
        """Items, or clusters of them, that got worse."""
        return sum(gain < 0 for gain in self.gains)

    @property
    def gained(self) -> int:
        """Items, or clusters of them, that got better."""
        return sum(gain > 0 for gain in self.gains)

    @property
    def effect(self) -> float:
        """The mean gain of an item."""
        return fsum(self.gains) / self.items

    @property
    def is_finite(self) -> bool:
        """Whether every pair is a number."""
        return all(isfinite(gain) for gain in self.gains)

    @property
    def losers(self) -> list[str]:
        """Items that got worse."""
        return [id_ for id_, gain in zip(self.ids, self.gains, strict=True) if gain < 0]

    def interval(self, confidence: float, seed: int) -> Interval:
        """Of the mean gain: Tango's for yes and no, bootstrap for scores.

        A bootstrap knows nothing of changes that the sample does not hold. Where a gain is bounded, the interval is
        never narrower than that of yes and no without any change.
        """
        if self.binary:
            return score_interval(self.lost, self.gained, len(self.gains), confidence)
        sizes = None if set(self.sizes) == {1} else self.sizes
        found = bootstrap_interval(self.gains, confidence, seed, sizes)
        if not metric(self.name).is_bounded:
            return found
        least = unchanged_width(self.independent, confidence)
        low, high = min(found.low, self.effect - least), max(found.high, self.effect + least)
        return Interval(low=round(low, 12), high=round(high, 12), confidence=confidence)

    def drop(self, seed: int) -> float:
        """One-sided p-value of a drop."""
        return exact_drop(self.lost, self.gained) if self.binary else sign_flip_drop(self.gains, seed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One margin of the gate file: the candidate against a side."""

    metric: str
    against: Side
    margin: Margin
    required: bool = True

    @property
    def subject(self) -> str:
        """What the verdict calls it."""
        return f"{self.against}/{self.metric}"


def comparisons(rules: Rules, opponent: Side) -> tuple[Comparison, ...]:
    """Every margin, by name. Without a champion both kinds are against the base, and the stricter one holds."""
    found: dict[str, Comparison] = {}
    wanted = [
        (name, side, margin, gate.required)
        for name, gate in sorted(rules.gates.items())
        for side, margin in ((opponent, gate.vs_champion), (Side.BASE, gate.vs_base))
        if margin is not None
    ]
    if not any(gate.vs_champion and gate.required for gate in rules.gates.values()):
        wanted.append(("success", opponent, DEFAULT_MARGIN, True))
    for name, side, margin, required in wanted:
        one = Comparison(metric=name, against=side, margin=margin, required=required)
        other = found.get(one.subject)
        found[one.subject] = one if other is None else _stricter(one, other, rules)
    return tuple(found[subject] for subject in sorted(found))


def pair(measured: Measured, name: str, *, against: Side | None = None, slice_: str | None = None) -> Pairs:
    """The paired gains of one metric over another side, over all items or one slice."""
    other, sign = against or measured.opponent, metric(name).sign
    asked = [
        (case, case.scores.get(Side.CANDIDATE, {}).get(name), case.scores.get(other, {}).get(name))
        for case in measured.cases
        if slice_ is None or slice_ in case.slices
    ]
    found = [(case, ours, theirs) for case, ours, theirs in asked if ours is not None and theirs is not None]
    units: dict[str, list[float]] = {}
    for case, ours, theirs in found:
        units.setdefault(f"cluster {case.cluster}" if case.cluster else case.id, []).append(ours - theirs)
    return Pairs(
        name=name,
        ids=tuple(units),
        gains=tuple(sign * fsum(gains) for gains in units.values()),
        sizes=tuple(len(gains) for gains in units.values()),
        # By the metric first: a score that happens to be 1 everywhere is still a score.
        binary=metric(name).unit is Unit.SHARE
        and len(units) == len(found)
        and all({ours, theirs} <= {0.0, 1.0} for _, ours, theirs in found),
        one_sided=tuple(case.id for case, ours, theirs in asked if (ours is None) is not (theirs is None)),
    )


def two_sided(confidence: float) -> float:
    """The confidence of the two-sided interval whose lower end has the one-sided confidence."""
    return 2 * confidence - 1


def fewest_pairs(name: str, margin: Margin, confidence: float) -> int:
    """The smallest sample that could show a metric to be within its margin, whatever it answers."""
    of = metric(name)
    if not of.is_bounded:
        return FEWEST_SCORES
    fewest = fewest_items(margin.max_loss, two_sided(margin.confidence or confidence))
    return fewest if of.unit is Unit.SHARE else max(FEWEST_SCORES, fewest)


def judge_margins(measured: Measured, rules: Rules) -> list[Verdict]:
    """A verdict for each comparison of the gate file."""
    asked = comparisons(rules, measured.opponent)
    paired = {one.subject: pair(measured, one.metric, against=one.against) for one in asked}
    adjusted = _adjusted(paired, rules.seed)
    return [
        _no_worse(one, paired[one.subject], measured, rules, adjusted.get(one.subject, 1.0)) for one in asked
    ]


def _adjusted(paired: Mapping[str, Pairs], seed: int) -> dict[str, float]:
    return holm({name: pairs.drop(seed) for name, pairs in paired.items() if pairs.gains and pairs.is_finite})


def _stricter(one: Comparison, other: Comparison, rules: Rules) -> Comparison:
    confidences = (each.margin.confidence or rules.confidence for each in (one, other))
    margin = Margin(max_loss=min(one.margin.max_loss, other.margin.max_loss), confidence=max(confidences))
    return Comparison(
        metric=one.metric, against=one.against, margin=margin, required=one.required or other.required
    )


def _no_worse(one: Comparison, pairs: Pairs, measured: Measured, rules: Rules, p: float) -> Verdict:
    of, n = metric(one.metric), pairs.items
    if (unusable := _unusable(one, pairs, measured)) is not None:
        return unusable
    confidence = one.margin.confidence or rules.confidence
    gain = pairs.interval(two_sided(confidence), rules.seed)
    outcome, why = _settle(one, pairs, gain, p, confidence)
    interval = gain if of.sign > 0 else Interval(low=-gain.high, high=-gain.low, confidence=gain.confidence)
    effect = of.sign * pairs.effect
    span = f"{signed_number(interval.low, of.unit)} to {signed_number(interval.high, of.unit)}"
    allowed = shown(one.margin.max_loss, of.unit, difference=True)
    clusters = f" in {len(pairs.sizes)} clusters" if n != len(pairs.sizes) else ""
    reason = f"{of.title} {signed(effect, of.unit)} ({span}) on {n} items{clusters}, margin {allowed}: {why}"
    warns = outcome is Outcome.INCONCLUSIVE and rules.on_inconclusive is OnInconclusive.WARN
    return Verdict(
        subject=one.subject,
        outcome=outcome,
        reason=reason + ("" if outcome is Outcome.PASS else named(pairs.losers)),
        effect=effect,
        interval=interval,
        samples=(n, n),
        required=one.required and not warns,
    )


def _unusable(one: Comparison, pairs: Pairs, measured: Measured) -> Verdict | None:
    """Pairs of which nothing can be told: none, incomplete ones, or numbers that are none."""
    title, outcome = metric(one.metric).title, Outcome.NO_DATA
    if one.metric in measured.missing:
        reason = f"{title} was not measured on both sides: {measured.missing[one.metric]}"
    elif not pairs.gains and not pairs.one_sided:
        reason = f"{title} was not measured on both sides: no item of the suite applies"
    elif pairs.one_sided:
        reason = (
            f"{title} was measured on one side only for {len(pairs.one_sided)} items{named(pairs.one_sided)}"
        )
    elif not pairs.is_finite:
        outcome, reason = Outcome.ERROR, f"{title} is not finite"
    else:
        return None
    return Verdict(subject=one.subject, outcome=outcome, reason=reason, required=one.required)


def _settle(
    one: Comparison, pairs: Pairs, gain: Interval, p: float, confidence: float
) -> tuple[Outcome, str]:
    n, margin, fewest = (
        pairs.independent,
        one.margin.max_loss,
        fewest_pairs(one.metric, one.margin, confidence),
    )
    if (weak := _too_weak(pairs, gain)) is not None:
        return Outcome.INCONCLUSIVE, weak
    # Too few items may still show a gain; that losses are rare they cannot.
    if gain.low > -margin and (n >= fewest or gain.low > 0):
        return Outcome.PASS, "shown to be no worse"
    if p < 1 - confidence and pairs.effect <= -margin:
        return Outcome.FAIL, f"proven worse (p {probability(p)} after Holm)"
    if n < fewest:
        return (
            Outcome.INCONCLUSIVE,
            f"refused, {pairs.counted} cannot detect this margin; it needs {fewest} at least",
        )
    needed = items_to_settle(n, lambda scale: _settled(pairs, gain, margin, scale))
    advice = (
        f"about {needed} items like these would settle it" if needed else "more items would not settle it"
    )
    return Outcome.INCONCLUSIVE, f"{pairs.counted} cannot exclude a loss beyond the margin; {advice}"


def _too_weak(pairs: Pairs, gain: Interval) -> str | None:
    """Why a bootstrap interval says nothing, if it does not."""
    if pairs.binary:
        return None
    if pairs.independent < FEWEST_SCORES:
        return f"{pairs.counted} are too few for an interval, {FEWEST_SCORES} are the least"
    rarest = fewest_items(_RARE, gain.confidence)
    if gain.low == gain.high and pairs.independent < rarest:
        return f"{pairs.counted} that all changed alike say nothing of others, {rarest} would"
    return None


def _settled(pairs: Pairs, gain: Interval, margin: float, scale: float) -> bool:
    """Whether a sample so many times as large, with the same rates, would show either side."""
    if pairs.binary:
        grown = score_interval(pairs.lost * scale, pairs.gained * scale, pairs.items * scale, gain.confidence)
        low, high = grown.low, grown.high
    else:
        low = pairs.effect - (pairs.effect - gain.low) / sqrt(scale)
        high = pairs.effect + (gain.high - pairs.effect) / sqrt(scale)
    return low > -margin or (high < 0 and pairs.effect <= -margin)


def named(ids: Sequence[str]) -> str:
    """The first five of them in brackets, and how many more there are."""
    if not ids:
        return ""
    more = f" and {len(ids) - 5} more" if len(ids) > 5 else ""
    return f" [{', '.join(ids[:5])}{more}]"


def probability(p: float) -> str:
    """A p-value for people."""
    return f"{p:.1g}" if p < 0.001 else f"{p:.3f}"
