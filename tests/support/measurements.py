"""Measurements in memory, made of functions that say which items are right, for tests of what is concluded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rollout.core.evaluation import (
    BaseFacts,
    Case,
    Contender,
    Effect,
    EngineFacts,
    Measured,
    Quality,
    Repeat,
    Rules,
    Shift,
    Side,
    Subject,
)
from rollout.core.gate import conclude_quality
from rollout.core.gatefile import Gate, Margin, OnInconclusive
from rollout.core.suite import Expect, Turn
from rollout.core.verdict import Outcome, Verdict, worst

OK, BAD = 1.0, 0.0
Right = Callable[[int], float]
WITHIN_FIVE_POINTS = Gate(vs_champion=Margin(max_loss=0.05))


def case(number: int, slice_: str, scores: Mapping[Side, Mapping[str, float]], **changes: Any) -> Case:
    """One item that was asked, with the scores of every side."""
    return Case(
        id=f"i{number}",
        slice=slice_,
        expect=Expect.JSON,
        messages=(Turn(role="user", content=f"ticket {number}"),),
        scores={side: dict(found) for side, found in scores.items()},
        **changes,
    )


def scores_of(right: float) -> dict[str, float]:
    """What a right or a wrong answer gets."""
    return {"success": right, "exact_match": right, "json_compliance": right, "rouge_l": 0.5 + right / 2}


def measured(
    candidate: Right, champion: Right | None = lambda _: OK, *, n: int = 120, slices: int = 4, **changes: Any
) -> Measured:
    """`n` items of JSON in slices of equal size, with a base that is always wrong and adapters that move it."""
    cases = []
    for number in range(n):
        by_side = {Side.BASE: scores_of(BAD), Side.CANDIDATE: scores_of(candidate(number))}
        if champion is not None:
            by_side[Side.CHAMPION] = scores_of(champion(number))
        cases.append(case(number, f"s{number % slices}", by_side))
    return measured_cases(cases, champion=champion is not None, **changes)


def measured_cases(cases: Sequence[Case], *, champion: bool = True, **changes: Any) -> Measured:
    """Cases with sound proofs."""
    sides = [side for side in Side if champion or side is not Side.CHAMPION]
    shift = Shift(largest=0.4, same=0, compared=len(cases))
    facts: dict[str, Any] = {
        "planned": len(cases),
        "cases": tuple(cases),
        "effect": Effect(
            probes=8,
            noise=dict.fromkeys(sides, 0.0),
            shifts={side: shift for side in sides if side is not Side.BASE},
        ),
        "agreement": None,
        "noise": {sides[1]: Repeat(asked=8, changed=0)},
        "not_finite": dict.fromkeys(sides, 0),
    }
    return Measured(**(facts | changes))


def rules(**change: Any) -> Rules:
    """Rules with one limit and one margin."""
    return Rules(
        **{
            "gates": {"json_compliance": Gate(min=0.5), "exact_match": WITHIN_FIVE_POINTS},
            "confidence": 0.95,
            "seed": 7,
            "on_inconclusive": OnInconclusive.BLOCK,
            "agreement": "optional",
            **change,
        }
    )


def subject(by: Rules, *, champion: bool = True) -> Subject:
    """Two versions of one adapter."""
    return Subject(
        suite="triage",
        suite_digest="1" * 64,
        gates_name="default",
        gates_digest="2" * 64,
        candidate=_contender("1.1.0", "a"),
        champion=_contender("1.0.0", "b") if champion else None,
        base=BaseFacts(repo="demo/base", revision="0" * 40, quantization="none", dtype="float32"),
        engine=EngineFacts(
            name="recorded",
            version="1",
            dtype="float32",
            quantization="none",
            device="memory",
            batch_size=8,
        ),
        max_tokens=64,
        repeats=1,
        rules=by,
    )


def concluded(found: Measured, by: Rules | None = None) -> Quality:
    """The section of quality, for a first release where there is no champion."""
    return conclude_quality(subject(by or rules(), champion=Side.CHAMPION in found.sides), found)


def outcome(quality: Quality) -> Outcome:
    """The worst of what is required."""
    return worst(each.outcome for each in quality.verdicts if each.required)


def verdict(name: str, found: Measured, by: Rules | None = None) -> Verdict:
    """What is said of one subject."""
    verdicts = concluded(found, by).verdicts
    said = [each for each in verdicts if each.subject == name]
    assert len(said) == 1, [each.subject for each in verdicts]
    return said[0]


def failures(quality: Quality) -> list[str]:
    """The subjects that fail."""
    return [each.subject for each in quality.verdicts if each.outcome is Outcome.FAIL]


def with_scores(found: Measured, change: Callable[[int, Side, dict[str, float]], Any]) -> Measured:
    """The same cases with other scores. `change` gets number, side and scores, and changes them in place.

    Nothing is checked, so that it can hold what no document may: what is not a number.
    """
    cases = []
    for number, each in enumerate(found.cases):
        scores = {side: dict(of) for side, of in each.scores.items()}
        for side, of in scores.items():
            change(number, side, of)
        cases.append(each.model_copy(update={"scores": scores}))
    return found.model_copy(update={"cases": tuple(cases)})


def _contender(version: str, digit: str) -> Contender:
    return Contender(
        name="support-bot",
        version=version,
        served_name=f"support-bot-{version}-{digit * 12}",
        identity=digit * 64,
    )
