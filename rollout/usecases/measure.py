"""Measure one suite: proofs first, then the questions, then what is asked again, then the clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from math import fsum
from pathlib import Path

from rollout.core.effect import has_no_effect
from rollout.core.evaluation import Agreement, Case, Effect, Measured, Reply, ShardTimings, Side
from rollout.core.expectation import Expect
from rollout.core.scorers import Scorers, likelihood
from rollout.core.suite import Item
from rollout.ports import AnsweredItem, Engine, PanelScorer, PanelScores, TaskRunner, TaskSide
from rollout.usecases.answering import Answers, answer_suite
from rollout.usecases.contest import Contest, Means, Progress, Scope
from rollout.usecases.proving import (
    Readings,
    compare_with_reference,
    is_reference,
    prove_effect,
)
from rollout.usecases.timing import ask_again, shard_timings, time_answers

_SHOWN_LETTERS = 20_000
_LONGEST_LINE = 300
Values = dict[tuple[str, Side], dict[str, float]]
"""Scores by item id and side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What was measured of one suite, on one machine."""

    measured: Measured
    timings: ShardTimings
    notes: tuple[str, ...] = ()


@dataclass(slots=True, kw_only=True)
class _Outside:
    """What scorers outside found."""

    values: Values = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    cases: list[Case] = field(default_factory=list)


def measure(
    contest: Contest,
    engine: Engine,
    means: Means,
    scope: Scope,
    progress: Progress,
    *,
    reference: tuple[str, Readings] | None,
    base: Path | None,
    folders: Mapping[str, Path],
) -> Found:
    """Everything that is judged later. The adapters must be loaded.

    Nothing is asked of an adapter that has no effect or whose numbers are not finite: that is the answer.
    """
    effect, readings = prove_effect(contest, engine, progress)
    agreement = _agreement(engine, readings, reference)
    if (why := _why_stop(effect)) is not None:
        stopped = Measured(
            planned=len(contest.golden.items),
            unasked=_slices(contest.golden.items),
            cases=(),
            effect=effect,
            agreement=agreement,
            noise={},
            not_finite={},
            stopped=why,
            leak=contest.leak,
        )
        return Found(measured=stopped, timings=shard_timings(engine.describe(), scope, {}))
    answers = answer_suite(contest, engine, means.cache, scope, progress)
    noise = ask_again(contest, engine, answers, scope, progress) if scope.shard.is_first else {}
    timings = time_answers(contest, engine, answers.items, scope, progress)
    outside = _ask_outside(contest, answers, means, scope, progress, base, folders)
    measured = Measured(
        planned=len(contest.golden.items),
        unasked=tuple(sorted(set(_slices(contest.golden.items)) - set(_slices(answers.items)))),
        cases=(*_cases(contest, answers, outside.values), *outside.cases),
        effect=effect,
        agreement=agreement,
        noise=noise,
        not_finite=_not_finite(contest, answers),
        missing=_unread(answers) | outside.missing,
        leak=contest.leak,
    )
    return Found(measured=measured, timings=timings, notes=(*_kept_before(answers, scope), *outside.notes))


def _agreement(
    engine: Engine, readings: Readings | None, reference: tuple[str, Readings] | None
) -> Agreement | None:
    info = engine.describe()
    if readings is None:
        return None
    if is_reference(info):
        return compare_with_reference(readings, readings, "itself")
    return None if reference is None else compare_with_reference(reference[1], readings, reference[0])


def _why_stop(effect: Effect) -> str | None:
    if not effect.probes:
        return None
    if has_no_effect(effect, Side.CANDIDATE):
        return "the candidate has no effect on its base"
    if effect.shifts[Side.CANDIDATE].largest is None:
        return "log-probabilities of the candidate are not finite"
    return None


def _slices(items: Iterable[Item]) -> tuple[str, ...]:
    return tuple(sorted({name for item in items for name in (item.slice, *item.tags)}))


def _cases(contest: Contest, answers: Answers, outside: Values) -> list[Case]:
    scorers = Scorers(contest.golden)
    by_question: dict[tuple[str, Side], list[tuple[Reply, dict[str, float]]]] = {}
    items = {item.id: item for item in answers.items}
    for (side, id_, _), given in sorted(answers.replies.items(), key=lambda one: (one[0][1], one[0][2])):
        reply = Reply(
            text=_shortened(given.answer.text),
            completion_tokens=given.answer.completion_tokens,
            finish_reason=given.answer.finish_reason,
        )
        by_question.setdefault((id_, side), []).append((reply, scorers.score(items[id_], given.answer)))
    return [_case(item, contest, answers, by_question, outside) for item in answers.items]


def _case(
    item: Item,
    contest: Contest,
    answers: Answers,
    by_question: Mapping[tuple[str, Side], Sequence[tuple[Reply, dict[str, float]]]],
    outside: Values,
) -> Case:
    scores = {}
    for side in contest.adapters:
        found = _mean([values for _, values in by_question[item.id, side]])
        read = _read(item, side, answers)
        scores[side] = found | read | outside.get((item.id, side), {})
    return Case(
        id=item.id,
        slice=item.slice,
        tags=item.tags,
        expect=item.expect,
        cluster=item.cluster,
        messages=item.turns,
        reference=item.reference,
        replies={side: tuple(reply for reply, _ in by_question[item.id, side]) for side in contest.adapters},
        scores=scores,
    )


def _mean(repeats: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Of every metric that applies to all repeats of an item: the item is the unit that is compared."""
    common = [name for name in repeats[0] if all(name in each for each in repeats)]
    return {name: fsum(each[name] for each in repeats) / len(repeats) for name in common}


def _read(item: Item, side: Side, answers: Answers) -> dict[str, float]:
    reading = answers.readings.get((side, item.id))
    if reading is None:
        return {}
    if side is not Side.CANDIDATE:
        return likelihood.score(reading)
    base, champion = (answers.readings.get((other, item.id)) for other in (Side.BASE, Side.CHAMPION))
    return likelihood.score(reading, base=base, champion=champion)


def _kept_before(answers: Answers, scope: Scope) -> tuple[str, ...]:
    """Told in every report: an answer of before is only as good as the file that it was kept in."""
    asked = answers.reused + answers.generated
    told = f"shard {scope.shard}: {answers.reused} of {asked} answers were kept from before"
    return (told,) if answers.reused else ()


def _unread(answers: Answers) -> dict[str, str]:
    if answers.can_read:
        return {}
    return {of.id: "the engine cannot read fixed answers" for of in likelihood.METRICS}


def _not_finite(contest: Contest, answers: Answers) -> dict[Side, int]:
    counted = dict.fromkeys(contest.adapters, 0)
    for (side, _, _), given in answers.replies.items():
        counted[side] += not given.is_finite
    return counted


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN_LETTERS else text[:_SHOWN_LETTERS] + "…"


def _ask_outside(
    contest: Contest,
    answers: Answers,
    means: Means,
    scope: Scope,
    progress: Progress,
    base: Path | None,
    folders: Mapping[str, Path],
) -> _Outside:
    """Scorers that need something outside; whose absence is told and never counted as a pass."""
    outside, suite = _Outside(), contest.golden.suite.name
    shown = [_answered(item, contest, answers) for item in answers.items]
    for scorer in means.panels.get(suite, ()):
        _take(outside, scorer, scorer.score(shown, progress), scope)
    runner = means.tasks.get(suite)
    if runner is not None and base is not None and scope.shard.is_first:
        sides = {
            str(side): TaskSide(adapter=None if name is None else folders[name], served_name=name)
            for side, name in contest.adapters.items()
        }
        found = runner.run(base, sides, progress)
        outside.cases = [_task_case(id_, by_side) for id_, by_side in sorted(found.values.items())]
        _take(outside, runner, PanelScores(values={}, notes=found.notes), scope, named=_named(found))
    elif runner is not None and base is None:
        outside.missing |= dict.fromkeys(runner.metrics, "tasks need the folder of the base model")
    return outside


def _answered(item: Item, contest: Contest, answers: Answers) -> AnsweredItem:
    return AnsweredItem(
        id=item.id,
        prompt="\n\n".join(turn.content for turn in item.turns),
        reference=item.reference,
        answers={str(side): answers.replies[side, item.id, 0].answer.text for side in contest.adapters},
    )


def _take(
    outside: _Outside,
    scorer: PanelScorer | TaskRunner,
    found: PanelScores,
    scope: Scope,
    named: frozenset[str] | None = None,
) -> None:
    for id_, by_side in found.values.items():
        for side, scores in by_side.items():
            outside.values.setdefault((id_, Side(side)), {}).update(scores)
    had = _named(found) if named is None else named
    told_why = _line("; ".join(f"{name}: {note}" for name, note in sorted(found.notes.items())))
    outside.missing |= {
        name: told_why or f"{scorer.name} gave no value" for name in scorer.metrics if name not in had
    }
    outside.notes += [_line(f"{scorer.name}, shard {scope.shard}: {told_why}")] if told_why else []


def _line(text: str) -> str:
    """Words of a judge or of another program as a report can hold them."""
    shown = "".join(letter if letter.isprintable() else " " for letter in text)
    return shown if len(shown) <= _LONGEST_LINE else shown[: _LONGEST_LINE - 1] + "…"


def _named(found: PanelScores) -> frozenset[str]:
    scores = chain.from_iterable(by_side.values() for by_side in found.values.values())
    return frozenset(name for each in scores for name in each)


def _task_case(id_: str, by_side: Mapping[str, Mapping[str, float]]) -> Case:
    return Case(
        id=f"task/{id_}",
        slice=f"task/{id_.partition('/')[0]}",
        expect=Expect.TEXT,
        scores={Side(side): dict(scores) for side, scores in by_side.items()},
    )
