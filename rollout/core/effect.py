"""Was the adapter applied at all? Asked before any score: a load that was answered with success proves nothing."""

from __future__ import annotations

from rollout.core.evaluation import Effect, Measured, Shift, Side
from rollout.core.verdict import Outcome, Verdict

SMALLEST_EFFECT = 1e-6
"""Largest difference of a token's natural log-probability that still counts as none."""
_NOISE_FACTOR = 3.0


def judge_effect(measured: Measured) -> list[Verdict]:
    """The candidate must move the base; so must the champion, or there is nothing to compare with."""
    sides = [side for side in (Side.CANDIDATE, Side.CHAMPION) if side in measured.sides]
    return [_finite(measured), *(_moves(measured.effect, side) for side in sides)]


def _finite(measured: Measured) -> Verdict:
    bad = {side: number for side, number in sorted(measured.not_finite.items()) if number}
    if bad.get(Side.CANDIDATE):
        reason = f"{bad[Side.CANDIDATE]} answers of the candidate are not finite numbers inside: its weights are broken"
        return Verdict(subject="finite", outcome=Outcome.FAIL, reason=reason)
    if bad or not measured.items:
        reason = f"answers of {', '.join(bad)} are not finite" if bad else "nothing was answered"
        return Verdict(subject="finite", outcome=Outcome.ERROR, reason=f"{reason}: nothing can be compared")
    return Verdict(subject="finite", outcome=Outcome.PASS, reason="every log-probability is a finite number")


def _moves(effect: Effect, side: Side) -> Verdict:
    subject = "effect" if side is Side.CANDIDATE else f"effect/{side}"
    harmful = Outcome.FAIL if side is Side.CANDIDATE else Outcome.ERROR
    shift = effect.shifts.get(side)
    if shift is None or effect.probes == 0 or shift.compared == 0:
        return Verdict(
            subject=subject, outcome=Outcome.NO_DATA, reason=f"the effect of the {side} was not measured"
        )
    if effect.noise is None or shift.largest is None:
        whose = side if shift.largest is None else Side.BASE
        outcome = harmful if whose is side else Outcome.ERROR
        reason = f"log-probabilities of the {whose} on the probe texts are not finite"
        return Verdict(subject=subject, outcome=outcome, reason=reason)
    return _moved(subject, side, shift, effect.noise, harmful)


def _moved(subject: str, side: Side, shift: Shift, noise: float, harmful: Outcome) -> Verdict:
    if shift.largest is not None and shift.largest > max(SMALLEST_EFFECT, _NOISE_FACTOR * noise):
        same = (
            f"; yet {shift.same} of {shift.compared} answers are the base's"
            if shift.same * 2 > shift.compared
            else ""
        )
        reason = f"moves log-probabilities of the base by up to {shift.largest:.2g} (noise {noise:.2g}){same}"
        return Verdict(subject=subject, outcome=Outcome.PASS, reason=reason, effect=shift.largest)
    same = f"{shift.same} of {shift.compared} answers and all log-probabilities are the base's"
    if side is Side.CANDIDATE:
        reason = f"adapter has no effect: {same} (untrained, or ignored by the engine)"
    else:
        reason = f"the champion has no effect, so it was not applied and nothing can be compared: {same}"
    return Verdict(subject=subject, outcome=harmful, reason=reason, effect=shift.largest)
