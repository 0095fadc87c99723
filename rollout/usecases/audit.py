"""Does a stored report speak of this very suite, and do its scores follow from its answers?

A report is judged by what it holds, so what it holds must be what the policy asks: the items, the rules, and scores
that the scorers give again. What outside models or engines measured (likelihoods, a judge) cannot be done again here.
"""

from __future__ import annotations

from collections.abc import Callable
from math import fsum, isclose

from rollout.core.answer import Answer
from rollout.core.evaluation import Case, EvalReport, Rules, Side
from rollout.core.scorers import Scorers
from rollout.core.suite import Golden, Item
from rollout.core.verdict import Outcome
from rollout.errors import Unreadable

_CUT = "…"


def rules_of(golden: Golden) -> Rules:
    """What the gate file of a suite asks."""
    return Rules(**{name: getattr(golden.gates, name) for name in Rules.model_fields})


def why_not_about(report: EvalReport, golden: Golden) -> str | None:
    """Why a report is no proof on a suite as the policy has it; None if nothing stands against it."""
    subject, measured = report.subject, report.measured
    digests = (subject.suite_digest, subject.gates_digest)
    if digests != (golden.suite_digest, golden.gates_digest):
        return f"it is about another suite or other gates than {golden.suite.name}"
    if subject.rules != rules_of(golden):
        return "it was not judged by the rules of its gate file"
    if (subject.max_tokens, subject.repeats) != (golden.suite.max_tokens, golden.suite.repeats):
        return "its answers were not generated as the suite says"
    if measured.stopped is not None:
        return f"nothing was asked: {measured.stopped}"
    items = {item.id: item for item in golden.items}
    asked = {case.id: case for case in measured.cases if case.messages}
    if measured.planned != len(items) or asked.keys() != items.keys():
        return f"it holds {len(asked)} of the {len(items)} items of its suite: a release needs the whole"
    scorers, sides = Scorers(golden), _sides(report)
    return next(
        (why for id_, item in items.items() if (why := _doubt(asked[id_], item, scorers, sides))), None
    )


def _sides(report: EvalReport) -> set[Side]:
    champion = set() if report.subject.champion is None else {Side.CHAMPION}
    return {Side.BASE, Side.CANDIDATE} | champion


def _doubt(case: Case, item: Item, scorers: Scorers, sides: set[Side]) -> str | None:
    same = (case.messages, case.reference, case.slice, case.tags, case.cluster, case.expect) == (
        item.turns,
        item.reference,
        item.slice,
        item.tags,
        item.cluster,
        item.expect,
    )
    if not same:
        return f"its case {case.id} is not the item of the suite"
    if case.scores.keys() != sides or case.replies.keys() != sides:
        return f"its case {case.id} was not answered by {', '.join(sorted(sides))}"
    return next((why for side in sorted(sides) if (why := _rescored(case, item, side, scorers))), None)


def _rescored(case: Case, item: Item, side: Side, scorers: Scorers) -> str | None:
    replies = case.replies[side]
    if not replies or any(reply.text.endswith(_CUT) for reply in replies):
        return None if replies else f"its case {case.id} has no answer of the {side}"
    again = [
        scorers.score(
            item,
            Answer(
                text=reply.text,
                prompt_tokens=0,
                completion_tokens=reply.completion_tokens,
                finish_reason=reply.finish_reason,
            ),
        )
        for reply in replies
    ]
    for name in again[0]:
        if all(name in each for each in again):
            value = fsum(each[name] for each in again) / len(again)
            if not isclose(case.scores[side].get(name, float("nan")), value, rel_tol=1e-9, abs_tol=1e-9):
                return (
                    f"the answer of the {side} to {case.id} does not have the {name} that it is said to have"
                )
    return None


def require_sound(report: EvalReport, find: Callable[[str], Golden]) -> None:
    """Raise Unreadable if a report passes that is no proof on its suite as the policy has it.

    What fails or settles nothing may be recorded as it is: it opens no door.
    """
    if report.outcome is not Outcome.PASS:
        return
    if (why := why_not_about(report, find(report.subject.suite))) is not None:
        raise Unreadable(
            f"the report on {report.subject.suite} is not recorded: {why}",
            advice="Evaluate again, or merge the shards of one run, with the policies of this commit (--base).",
        )
