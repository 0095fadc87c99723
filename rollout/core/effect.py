"""Was the adapter applied at all, and does the engine compute what it should? Asked before any score: a load that was
answered with success proves nothing."""

from __future__ import annotations

from collections.abc import Mapping
from math import comb
from types import MappingProxyType

from rollout.core.evaluation import Effect, Measured, Repeat, Rules, Shift, Side
from rollout.core.score import metric, shown
from rollout.core.verdict import Outcome, Verdict

SMALLEST_EFFECT = 1e-6
"""Largest difference of a token's natural log-probability that still counts as none."""
_NOISE_FACTOR = 3.0
TOLERANCES: Mapping[str, float] = MappingProxyType({"float32": 1e-3, "bfloat16": 0.1, "float16": 0.05})
"""How far a token's log-probability may be from the full-precision reference, by the engine's type.

About three times the largest distance that was measured between right engines and adapters (0.03 in bfloat16).
"""
_QUANTIZED_TOLERANCE = 0.5
_DISTANCE_FACTOR = 3.0
_CHANCE = 0.001
"""How often an engine that ignores the adapter may seem to apply it, where only answers can be compared."""


def judge_effect(measured: Measured, rules: Rules, *, dtype: str, quantization: str) -> list[Verdict]:
    """The candidate must move the base; so must the champion, or there is nothing to compare with."""
    proven = {*measured.effect.shifts, *measured.sides, Side.CANDIDATE}
    sides = [side for side in (Side.CANDIDATE, Side.CHAMPION) if side in proven]
    asked = [] if measured.stopped is not None else [_finite(measured)]
    again = [] if measured.stopped is not None else [_repeats(measured)]
    moved = [_moves(measured.effect, side, measured.noise) for side in sides]
    return [*asked, *moved, _agrees(measured, rules, _tolerance(dtype, quantization)), *again]


def noise_floor(effect: Effect) -> float | None:
    """The largest difference of a side against itself; None if it is not known or not finite."""
    found = [value for value in effect.noise.values() if value is not None]
    return max(found) if found and len(found) == len(effect.noise) else None


def has_no_effect(effect: Effect, side: Side) -> bool:
    """Whether the probes show that a side was not applied: nothing moves beyond the noise."""
    shift, noise = effect.shifts.get(side), noise_floor(effect)
    if shift is None or shift.largest is None or noise is None:
        return False
    return shift.largest <= max(SMALLEST_EFFECT, _NOISE_FACTOR * noise)


def more_often(hits: int, items: int, other_hits: int, other_items: int) -> float:
    """One-sided p-value of `hits` of `items` being more often than `other_hits` of `other_items` by chance alone.

    Source: Fisher's exact test, from the hypergeometric distribution of the hits.
    """
    drawn = hits + other_hits
    ways = (comb(items, k) * comb(other_items, drawn - k) for k in range(hits, min(items, drawn) + 1))
    return sum(ways) / comb(items + other_items, drawn)


def _finite(measured: Measured) -> Verdict:
    bad = {side: number for side, number in sorted(measured.not_finite.items()) if number}
    if bad.get(Side.CANDIDATE):
        reason = f"{bad[Side.CANDIDATE]} answers of the candidate are not finite numbers inside: its weights are broken"
        return Verdict(subject="finite", outcome=Outcome.FAIL, reason=reason)
    if bad or not measured.cases:
        reason = f"answers of {', '.join(bad)} are not finite" if bad else "nothing was answered"
        return Verdict(subject="finite", outcome=Outcome.ERROR, reason=f"{reason}: nothing can be compared")
    if uncounted := [side for side in measured.sides if side not in measured.not_finite]:
        reason = f"nobody counted what is not finite of {', '.join(uncounted)}"
        return Verdict(subject="finite", outcome=Outcome.NO_DATA, reason=reason)
    return Verdict(subject="finite", outcome=Outcome.PASS, reason="every log-probability is a finite number")


def _moves(effect: Effect, side: Side, again: Mapping[Side, Repeat]) -> Verdict:
    subject = "effect" if side is Side.CANDIDATE else f"effect/{side}"
    harmful = Outcome.FAIL if side is Side.CANDIDATE else Outcome.ERROR
    shift = effect.shifts.get(side)
    if shift is not None and effect.probes == 0 and shift.compared:
        return _moves_answers(subject, harmful, shift, again)
    if shift is None or effect.probes == 0:
        reason = f"the effect of the {side} was not measured"
        return Verdict(subject=subject, outcome=Outcome.NO_DATA, reason=reason)
    noise = noise_floor(effect)
    if noise is None or shift.largest is None:
        whose = side if shift.largest is None else Side.BASE
        outcome = harmful if whose is side else Outcome.ERROR
        reason = f"log-probabilities of the {whose} on the probe texts are not finite"
        return Verdict(subject=subject, outcome=outcome, reason=reason)
    if not has_no_effect(effect, side):
        return _moved(subject, shift, shift.largest, noise)
    answers = f"{shift.same} of {shift.compared} answers and " if shift.compared else ""
    same = f"{answers}all log-probabilities of {effect.probes} probes are the base's"
    if side is Side.CANDIDATE:
        reason = f"adapter has no effect: {same} (untrained, or ignored by the engine)"
    else:
        reason = f"the champion has no effect, so it was not applied and nothing can be compared: {same}"
    return Verdict(subject=subject, outcome=harmful, reason=reason, effect=shift.largest)


def _moves_answers(subject: str, harmful: Outcome, shift: Shift, again: Mapping[Side, Repeat]) -> Verdict:
    """Without log-probabilities: more answers must differ from the base's than the engine changes by itself."""
    differ = shift.compared - shift.same
    asked = sum(repeat.asked for repeat in again.values())
    if not asked:
        reason = "this engine cannot read fixed answers, and none was asked again: its noise is not known"
        return Verdict(subject=subject, outcome=Outcome.NO_DATA, reason=reason)
    changed = sum(repeat.changed for repeat in again.values())
    p = more_often(differ, shift.compared, changed, asked)
    told = (
        f"{differ} of {shift.compared} answers differ from the base's, while {changed} of {asked} change "
        f"by themselves (p {p:.1g}); this engine cannot read fixed answers"
    )
    if p < _CHANCE:
        return Verdict(subject=subject, outcome=Outcome.PASS, reason=told)
    return Verdict(subject=subject, outcome=harmful, reason=f"no effect beyond the noise: {told}")


def _moved(subject: str, shift: Shift, largest: float, noise: float) -> Verdict:
    mostly = shift.same * 2 > shift.compared > 0
    same = f"; yet {shift.same} of {shift.compared} answers are the base's" if mostly else ""
    reason = f"moves log-probabilities of the base by up to {largest:.2g} (noise {noise:.2g}){same}"
    return Verdict(subject=subject, outcome=Outcome.PASS, reason=reason, effect=largest)


def _agrees(measured: Measured, rules: Rules, tolerance: float) -> Verdict:
    """The engine against a full-precision reference; base and champion calibrate what is usual on it."""
    subject, required = "agreement", rules.agreement == "required"
    found = measured.agreement
    if found is None or not found.probes or Side.CANDIDATE not in found.distances:
        reason = "the engine was not compared with a full-precision reference"
        return Verdict(subject=subject, outcome=Outcome.NO_DATA, reason=reason, required=required)
    unknown = [side for side, distance in sorted(found.distances.items()) if distance is None]
    if unknown:
        outcome = Outcome.FAIL if Side.CANDIDATE in unknown else Outcome.ERROR
        reason = f"log-probabilities of {', '.join(unknown)} are not finite, here or in the reference"
        return Verdict(subject=subject, outcome=outcome, reason=reason, required=required)
    known = {side: distance for side, distance in found.distances.items() if distance is not None}
    usual = [distance for side, distance in known.items() if side is not Side.CANDIDATE]
    ours = known[Side.CANDIDATE]
    told = f"{ours:.2g} from {found.reference} at most (base and champion {max(usual, default=0.0):.2g})"
    if max(usual, default=0.0) > tolerance:
        reason = f"the engine computes base or champion otherwise than the reference: {told}, tolerance {tolerance:g}"
        return Verdict(subject=subject, outcome=Outcome.ERROR, reason=reason, effect=ours, required=required)
    if ours > max(tolerance, _DISTANCE_FACTOR * max(usual, default=0.0)):
        reason = f"the engine applies the adapter otherwise than PEFT: {told}, tolerance {tolerance:g}"
        return Verdict(subject=subject, outcome=Outcome.FAIL, reason=reason, effect=ours, required=required)
    return Verdict(subject=subject, outcome=Outcome.PASS, reason=told, effect=ours, required=required)


def _tolerance(dtype: str, quantization: str) -> float:
    return TOLERANCES.get(dtype, 0.0) if quantization == "none" else _QUANTIZED_TOLERANCE


def _repeats(measured: Measured) -> Verdict:
    """Shown: an engine that answers twice differently makes every paired count noisier.

    Where most answers change, it is another engine, or holds other weights, than the one that was compared.
    """
    noise = measured.noise
    others = {side: each for side, each in sorted(noise.items()) if each.changed * 2 > each.asked}
    # Several answers of one item are sampled ones, which no engine promises to give again.
    if others and not any(len(of) > 1 for case in measured.cases for of in case.replies.values()):
        told = ", ".join(f"{each.changed} of {each.asked} of {side}" for side, each in others.items())
        reason = (
            f"most answers changed when asked again ({told}): "
            "the engine, or what it holds, is not the one that answered before"
        )
        return Verdict(subject="noise", outcome=Outcome.ERROR, reason=reason)
    asked = sum(repeat.asked for repeat in noise.values())
    changed = sum(repeat.changed for repeat in noise.values())
    if not asked:
        outcome, reason = Outcome.NO_DATA, "nothing was asked twice"
    elif changed:
        outcome = Outcome.INCONCLUSIVE
        moved = [
            f"{metric(name).title} {shown(value, metric(name).unit, difference=True)}"
            for _, repeat in sorted(noise.items())
            for name, value in sorted(repeat.differences.items())
            if value > 0 and name in ("success", "rouge_l")
        ]
        which = ", ".join(sorted(noise))
        reason = f"{changed} of {asked} answers of {which} changed when asked again in another batch"
        reason += f" ({', '.join(moved)} on average)" if moved else ""
    else:
        outcome, reason = Outcome.PASS, f"{asked} answers asked again in another batch were the same"
    return Verdict(subject="noise", outcome=outcome, reason=reason, required=False)
