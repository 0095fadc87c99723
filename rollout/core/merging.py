"""What several shards found, as one measurement: the same bytes as if one machine had asked everything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rollout.core.effect import has_no_effect
from rollout.core.evaluation import Case, Effect, EvalReport, Measured, Partial, Shift, Side
from rollout.core.gate import conclude_quality, conclude_speed
from rollout.core.planning import ShardNumber
from rollout.errors import Unreadable


def conclude(partials: Sequence[Partial]) -> EvalReport:
    """The report of all shards of one suite. A single run is the shard 1/1.

    Raises Unreadable if they are not exactly the shards of one evaluation, each of them once.
    """
    parts = _in_order(partials)
    first = parts[0]
    measured = _united([part.measured for part in parts])
    shards = tuple(part.timings for part in parts)
    return EvalReport(
        tool=first.tool,
        started_at=min(part.started_at for part in parts),
        finished_at=max(part.finished_at for part in parts),
        command=first.command,
        quality=conclude_quality(first.subject, measured),
        speed=conclude_speed(first.subject.rules, shards, was_timed=measured.stopped is None),
        notes=tuple(note for part in parts for note in part.notes),
    )


def _in_order(partials: Sequence[Partial]) -> list[Partial]:
    if not partials:
        raise Unreadable("there is no shard to merge")
    numbered = sorted(
        ((ShardNumber.parse(part.shard), part) for part in partials), key=lambda one: one[0].index
    )
    of = numbered[0][0].of
    if any(number.of != of for number, _ in numbered):
        told = ", ".join(str(number) for number, _ in numbered)
        raise Unreadable(f"the shards {told} are not of one division")
    counted = Counter(number.index for number, _ in numbered)
    if wrong := [f"{index}/{of}" for index in range(1, of + 1) if counted[index] != 1]:
        raise Unreadable(
            f"shards that are missing or there twice: {', '.join(wrong)}",
            advice="Name the file of every shard once.",
        )
    parts = [part for _, part in numbered]
    for part in parts[1:]:
        _require_same(parts[0], part)
    return parts


def _require_same(one: Partial, other: Partial) -> None:
    """Shards of different suites, adapters, engines or tools are not one evaluation."""
    ours, theirs = one.subject.model_dump(mode="json"), other.subject.model_dump(mode="json")
    differing = [name for name in ours if ours[name] != theirs[name]]
    if one.tool != other.tool:
        differing.append("tool")
    if one.measured.planned != other.measured.planned:
        differing.append("planned")
    if differing:
        raise Unreadable(
            f"shards {one.shard} and {other.shard} are of different evaluations: other {', '.join(differing)}",
            advice="Run all shards from one commit, with the same options, versions and engine.",
        )


def _united(parts: Sequence[Measured]) -> Measured:
    first = parts[0]
    cases = sorted((case for part in parts for case in part.cases), key=lambda case: case.id)
    if twice := [case_id for case_id, count in Counter(case.id for case in cases).items() if count > 1]:
        raise Unreadable(f"items that more than one shard asked: {', '.join(sorted(twice)[:5])}")
    measured_names = {name for case in cases for scores in case.scores.values() for name in scores}
    # What one machine could not measure is not known of the whole, whatever the others measured.
    missing = {
        name: why
        for part in reversed(parts)
        for name, why in part.missing.items()
        if part.cases or name not in measured_names
    }
    unasked = set[str].intersection(*(set(part.unasked) for part in parts))
    return Measured(
        planned=first.planned,
        unasked=tuple(sorted(unasked)),
        cases=tuple(cases),
        effect=_with_answers(_worst_effect([part.effect for part in parts]), cases),
        agreement=first.agreement,
        noise=first.noise,
        not_finite={
            side: sum(part.not_finite.get(side, 0) for part in parts)
            for side in Side
            if any(side in part.not_finite for part in parts)
        },
        missing=dict(sorted(missing.items())),
        leak=first.leak,
        stopped=next((part.stopped for part in parts if part.stopped is not None), None),
    )


def _worst_effect(effects: Sequence[Effect]) -> Effect:
    """An adapter that one machine ignored was not evaluated there, whatever the others say."""
    for effect in effects:
        if any(has_no_effect(effect, side) or effect.shifts[side].largest is None for side in effect.shifts):
            return effect
    return effects[0]


def _with_answers(effect: Effect, cases: Sequence[Case]) -> Effect:
    """How many answers are the base's own, letter by letter."""
    asked = [case for case in cases if Side.BASE in case.replies]
    shifts = {
        side: Shift(
            largest=shift.largest,
            same=sum(case.text(side) == case.text(Side.BASE) for case in asked if side in case.replies),
            compared=sum(side in case.replies for case in asked),
        )
        for side, shift in effect.shifts.items()
    }
    return effect.model_copy(update={"shifts": shifts})
