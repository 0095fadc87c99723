"""Did any slice get worse? A slice fails on any drop that is proven (McNemar, Holm over the slices).

A whole intent can break and hardly move the mean: this is the check that names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import fsum

from rollout.core.comparison import Pairs, named, pair, probability, two_sided
from rollout.core.evaluation import Measured, Rules, Side, SliceRow
from rollout.core.paired import holm, smallest_provable_loss
from rollout.core.score import Unit, shown
from rollout.core.verdict import Outcome, Verdict


def judge_slices(measured: Measured, rules: Rules) -> list[Verdict]:
    alpha = 1 - rules.confidence
    by_slice = _pairs_by_slice(measured)
    if not by_slice:
        return [
            Verdict(subject="slices", outcome=Outcome.NO_DATA, reason="no item was answered on both sides")
        ]
    adjusted = holm({name: pairs.drop(rules.seed) for name, pairs in by_slice.items()})
    worse = [name for name, p in adjusted.items() if p < alpha]
    worse.sort(key=lambda name: by_slice[name].effect)
    found = [_worse_slice(name, by_slice[name], measured, adjusted[name], rules) for name in worse]
    return [*found, *_blind_slices(by_slice, alpha), *([] if worse else [_sound_slices(by_slice, alpha)])]


def _worse_slice(name: str, pairs: Pairs, measured: Measured, p: float, rules: Rules) -> Verdict:
    n = len(pairs.gains)
    before, after = (_mean(measured, "success", name, side) for side in (measured.opponent, Side.CANDIDATE))
    reason = (
        f"right answers fell from {shown(before, Unit.SHARE)} to {shown(after, Unit.SHARE)} of {n}: "
        f"{pairs.lost} lost, {pairs.gained} gained against the {measured.opponent} "
        f"(p {probability(p)} after Holm)"
    )
    lost = [id_ for id_, gain in zip(pairs.ids, pairs.gains, strict=True) if gain < 0]
    return Verdict(
        subject=f"slice/{name}",
        outcome=Outcome.FAIL,
        reason=reason + named(lost),
        effect=pairs.effect,
        interval=pairs.interval(two_sided(rules.confidence), rules.seed),
        samples=(n, n),
    )


def _blind_slices(by_slice: Mapping[str, Pairs], alpha: float) -> list[Verdict]:
    """Slices so small that not even losing every item would be proof: shown, but they do not block."""
    return [
        Verdict(
            subject=f"slice/{name}",
            outcome=Outcome.INCONCLUSIVE,
            reason=f"{len(pairs.gains)} items are too few to prove a loss among {len(by_slice)} slices",
            samples=(len(pairs.gains), len(pairs.gains)),
            required=False,
        )
        for name, pairs in by_slice.items()
        if pairs.binary and smallest_provable_loss(len(pairs.gains), len(by_slice), alpha) is None
    ]


def _sound_slices(by_slice: Mapping[str, Pairs], alpha: float) -> Verdict:
    least = smallest_provable_loss(1_000_000, len(by_slice), alpha)
    sizes = [len(pairs.gains) for pairs in by_slice.values()]
    span = f"{min(sizes)}" if min(sizes) == max(sizes) else f"{min(sizes)} to {max(sizes)}"
    reason = f"no proven loss in {len(sizes)} slices of {span} items; {least} lost answers in one would have been proof"
    return Verdict(subject="slices", outcome=Outcome.PASS, reason=reason, samples=(sum(sizes), sum(sizes)))


def _pairs_by_slice(measured: Measured) -> dict[str, Pairs]:
    names = sorted({item.slice for item in measured.items})
    paired = {name: pair(measured, "success", name) for name in names}
    return {name: pairs for name, pairs in paired.items() if pairs.gains}


def slice_rows(measured: Measured, rules: Rules) -> tuple[SliceRow, ...]:
    """Every slice, the one that lost most against the opponent first."""
    by_slice = _pairs_by_slice(measured)
    adjusted = holm({name: pairs.drop(rules.seed) for name, pairs in by_slice.items()})
    rows = [_slice_row(measured, pairs, name, adjusted[name]) for name, pairs in by_slice.items()]
    return tuple(
        sorted(rows, key=lambda row: (by_slice[row.slice].effect, row.success[Side.CANDIDATE], row.slice))
    )


def _slice_row(measured: Measured, pairs: Pairs, name: str, p: float) -> SliceRow:
    items = [item for item in measured.items if item.slice == name]
    with_json = any("json_compliance" in item.scores.get(Side.CANDIDATE, {}) for item in items)
    sides = measured.sides
    return SliceRow(
        slice=name,
        n=len(pairs.gains),
        success={side: _mean(measured, "success", name, side) for side in sides},
        json_compliance={side: _mean(measured, "json_compliance", name, side) for side in sides if with_json},
        lost=pairs.lost,
        gained=pairs.gained,
        p=p,
    )


def _mean(measured: Measured, name: str, slice_: str, side: Side) -> float:
    scores = [item.scores.get(side, {}) for item in measured.items if item.slice == slice_]
    values = [each[name] for each in scores if name in each]
    return fsum(values) / len(values) if values else 0.0
