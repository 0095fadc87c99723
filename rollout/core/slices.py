"""Did any slice get worse? A slice fails on any drop of right answers that is proven (Holm over the slices), on the
loss of every single one, and on what the gate file limits in each slice.

Slices that are too small for a proof pass unseen, which is told of each; a gate with `slices: {max_loss}` blocks on
them. That all answers of a slice are lost fails it however small it is: that is no case for statistics but for a human.

A whole intent can break and hardly move the mean: this is the check that names it. Slices are an item's `slice` and
its `tags`, so that one item may stand in several.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import fsum

from rollout.core.comparison import Pairs, fewest_pairs, named, pair, probability, two_sided
from rollout.core.estimate import lacking, mean_interval, shows
from rollout.core.evaluation import Measured, Rules, Side, SliceRow
from rollout.core.gatefile import Margin, OnInconclusive, SliceLimits
from rollout.core.paired import holm, smallest_provable_loss
from rollout.core.score import Unit, metric, shown, signed
from rollout.core.verdict import Outcome, Verdict


def judge_slices(measured: Measured, rules: Rules) -> list[Verdict]:
    alpha = 1 - rules.confidence
    by_slice = _pairs_by_slice(measured)
    if not by_slice:
        return [
            Verdict(subject="slices", outcome=Outcome.NO_DATA, reason="no item was answered on both sides")
        ]
    adjusted = _adjusted(by_slice, rules)
    worse = [name for name, p in adjusted.items() if p < alpha or _is_lost(by_slice[name])]
    worse.sort(key=lambda name: by_slice[name].effect)
    found = [_worse_slice(name, by_slice[name], measured, adjusted[name], rules) for name in worse]
    sound = [] if worse else [_sound_slices(by_slice, alpha)]
    return [*found, *_limited(measured, rules), *_blind_slices(by_slice, worse, alpha), *sound]


def fewest_in_slice(name: str, limits: SliceLimits, confidence: float) -> int:
    """The smallest slice that could show a metric to be within the loss that its gate allows; 0 if it limits none."""
    return 0 if limits.max_loss is None else fewest_pairs(name, Margin(max_loss=limits.max_loss), confidence)


def _is_lost(pairs: Pairs) -> bool:
    """Whether every answer was right and is wrong now, of two at least."""
    return pairs.items > 1 and pairs.effect == -1


def _adjusted(by_slice: Mapping[str, Pairs], rules: Rules) -> dict[str, float]:
    return holm({name: pairs.drop(rules.seed) for name, pairs in by_slice.items()})


def _limited(measured: Measured, rules: Rules) -> Iterator[Verdict]:
    """What gates ask of every slice; one verdict a metric, which names the worst slice."""
    for name, gate in sorted(rules.gates.items()):
        if gate.slices is not None:
            yield _worst_of(measured, name, gate.slices, gate.required, rules)


def _worst_of(measured: Measured, name: str, limits: SliceLimits, required: bool, rules: Rules) -> Verdict:
    subject, of = f"slices/{name}", metric(name)
    present = {
        each: values
        for each in _slice_names(measured)
        if (values := _values(measured, name, each, Side.CANDIDATE))
    }
    if (unknown := _unknown(measured, name, limits, present)) is not None:
        return Verdict(subject=subject, outcome=Outcome.NO_DATA, reason=unknown, required=required)
    means = {each: fsum(values) / len(values) for each, values in present.items()}
    beyond = [
        f"{each}: {shown(mean, of.unit)} of {len(present[each])} items"
        for each, mean in sorted(means.items(), key=lambda one: of.sign * one[1])
        if (limits.min is not None and mean < limits.min) or (limits.max is not None and mean > limits.max)
    ]
    lost = _lost_too_much(measured, name, limits.max_loss, tuple(present), rules)
    if beyond or lost:
        limit = _limits_told(limits, name)
        return Verdict(
            subject=subject,
            outcome=Outcome.FAIL,
            reason=f"{of.title} in slices, {limit}: {'; '.join([*beyond, *lost])}",
            required=required,
        )
    if (small := _too_small(measured, name, limits, tuple(present), rules)) is not None:
        warns = rules.on_inconclusive is OnInconclusive.WARN
        return Verdict(
            subject=subject, outcome=Outcome.INCONCLUSIVE, reason=small, required=required and not warns
        )
    least = min(means, key=lambda each: of.sign * means[each])
    reason = f"{of.title} in {len(means)} slices: worst {least} with {shown(means[least], of.unit)}"
    if measured.is_sample and (unproven := _unproven(present, name, limits, rules)):
        reason += f"; a part of the suite that does not show the limit in {', '.join(unproven)}"
        return Verdict(subject=subject, outcome=Outcome.INCONCLUSIVE, reason=reason, required=required)
    return Verdict(subject=subject, outcome=Outcome.PASS, reason=reason, required=required)


def _unknown(
    measured: Measured, name: str, limits: SliceLimits, present: Mapping[str, Sequence[float]]
) -> str | None:
    """Why the limits cannot be judged in every slice, if they cannot."""
    title = metric(name).title
    if name in measured.missing:
        return f"{title} was not measured: {measured.missing[name]}"
    if not present:
        return f"{title} was not measured in any slice"
    if gone := lacking(measured, name):
        return f"{title} was not measured for {len(gone)} answers of the candidate{named(gone)}"
    alone = [each for each in present if limits.max_loss and not pair(measured, name, slice_=each).gains]
    return f"{title} has nothing to be compared with in {', '.join(alone)}" if alone else None


def _too_small(
    measured: Measured, name: str, limits: SliceLimits, slices: tuple[str, ...], rules: Rules
) -> str | None:
    """Which slices could not show the loss that is allowed, whatever they answered."""
    fewest = fewest_in_slice(name, limits, rules.confidence)
    if limits.max_loss is None:
        return None
    counts = {each: pair(measured, name, slice_=each).independent for each in slices}
    small = [f"{each} ({count})" for each, count in counts.items() if count < fewest]
    if not small:
        return None
    of = metric(name)
    allowed = shown(limits.max_loss, of.unit, difference=True)
    return f"{of.title} in slices: a loss of {allowed} needs {fewest} items in each to show{named(small)}"


def _unproven(
    present: Mapping[str, Sequence[float]], name: str, limits: SliceLimits, rules: Rules
) -> list[str]:
    """Slices of a sample whose intervals reach beyond a limit."""
    confidence = two_sided(rules.confidence)
    return [
        each
        for each, values in present.items()
        if not shows(mean_interval(values, name, confidence, rules.seed), limits.min, limits.max)
    ]


def _lost_too_much(
    measured: Measured, name: str, max_loss: float | None, slices: tuple[str, ...], rules: Rules
) -> list[str]:
    """Slices whose loss is proven to reach beyond the limit, at a confidence that holds for all of them."""
    if max_loss is None:
        return []
    confidence = two_sided(1 - (1 - rules.confidence) / len(slices))
    paired = {each: pair(measured, name, slice_=each) for each in slices}
    return [
        f"{each}: {signed(metric(name).sign * pairs.effect, metric(name).unit)}{named(pairs.losers)}"
        for each, pairs in paired.items()
        if pairs.gains and pairs.interval(confidence, rules.seed).high < -max_loss
    ]


def _limits_told(limits: SliceLimits, name: str) -> str:
    unit = metric(name).unit
    told = [
        f"{word} {shown(value, unit, difference=word == 'loss at most')}"
        for word, value in (
            ("at least", limits.min),
            ("at most", limits.max),
            ("loss at most", limits.max_loss),
        )
        if value is not None
    ]
    return ", ".join(told)


def _worse_slice(name: str, pairs: Pairs, measured: Measured, p: float, rules: Rules) -> Verdict:
    n = pairs.items
    before, after = (_mean(measured, "success", name, side) for side in (measured.opponent, Side.CANDIDATE))
    reason = (
        f"right answers fell from {shown(before, Unit.SHARE)} to {shown(after, Unit.SHARE)} of {n}: "
        f"{pairs.lost} lost, {pairs.gained} gained against the {measured.opponent} "
        f"(p {probability(p)} after Holm)"
    )
    if _is_lost(pairs) and p >= 1 - rules.confidence:
        reason += "; too few for a proof, yet all of them: a human must look"
    return Verdict(
        subject=f"slice/{name}",
        outcome=Outcome.FAIL,
        reason=reason + named(pairs.losers),
        effect=pairs.effect,
        interval=pairs.interval(two_sided(rules.confidence), rules.seed),
        samples=(n, n),
    )


def _blind_slices(by_slice: Mapping[str, Pairs], worse: Sequence[str], alpha: float) -> list[Verdict]:
    """Slices so small that not even losing every item would be proof: shown, but they do not block."""
    return [
        Verdict(
            subject=f"slice/{name}",
            outcome=Outcome.INCONCLUSIVE,
            reason=_blind(pairs.independent, len(by_slice)),
            samples=(pairs.items, pairs.items),
            required=False,
        )
        for name, pairs in by_slice.items()
        if name not in worse and smallest_provable_loss(pairs.independent, len(by_slice), alpha) is None
    ]


def _blind(items: int, slices: int) -> str:
    seen = "the loss of all of them is seen, of some it is not" if items > 1 else "its loss is not seen"
    return f"{items} items are too few to prove a loss among {slices} slices: {seen}"


def _sound_slices(by_slice: Mapping[str, Pairs], alpha: float) -> Verdict:
    least = smallest_provable_loss(1_000_000, len(by_slice), alpha)
    sizes = [pairs.items for pairs in by_slice.values()]
    span = f"{min(sizes)}" if min(sizes) == max(sizes) else f"{min(sizes)} to {max(sizes)}"
    reason = f"no proven loss in {len(sizes)} slices of {span} items"
    # Of clusters and repeats it depends on which answers were lost.
    if all(pairs.binary for pairs in by_slice.values()):
        reason += f"; {least} lost answers in one would have been proof"
    return Verdict(subject="slices", outcome=Outcome.PASS, reason=reason, samples=(sum(sizes), sum(sizes)))


def _slice_names(measured: Measured) -> list[str]:
    return sorted({name for case in measured.cases for name in case.slices})


def _pairs_by_slice(measured: Measured) -> dict[str, Pairs]:
    paired = {name: pair(measured, "success", slice_=name) for name in _slice_names(measured)}
    return {name: pairs for name, pairs in paired.items() if pairs.gains}


def slice_rows(measured: Measured, rules: Rules) -> tuple[SliceRow, ...]:
    """Every slice, the one that lost most against the opponent first."""
    by_slice = _pairs_by_slice(measured)
    adjusted = _adjusted(by_slice, rules)
    rows = [_slice_row(measured, pairs, name, adjusted[name]) for name, pairs in by_slice.items()]
    return tuple(
        sorted(rows, key=lambda row: (by_slice[row.slice].effect, row.success[Side.CANDIDATE], row.slice))
    )


def _slice_row(measured: Measured, pairs: Pairs, name: str, p: float) -> SliceRow:
    with_json = bool(_values(measured, "json_compliance", name, Side.CANDIDATE))
    sides = measured.sides
    return SliceRow(
        slice=name,
        n=pairs.items,
        success={side: _mean(measured, "success", name, side) for side in sides},
        json_compliance={side: _mean(measured, "json_compliance", name, side) for side in sides if with_json},
        lost=pairs.lost,
        gained=pairs.gained,
        p=p,
    )


def _mean(measured: Measured, name: str, slice_: str, side: Side) -> float:
    values = _values(measured, name, slice_, side)
    return fsum(values) / len(values) if values else 0.0


def _values(measured: Measured, name: str, slice_: str, side: Side) -> list[float]:
    scores = [case.scores.get(side, {}) for case in measured.cases if slice_ in case.slices]
    return [each[name] for each in scores if name in each]
