"""The cases as the page holds them: at most so many, worst first, with their scores already written out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from rollout.core.evaluation import Case, Estimate, EvalReport, Evaluation, Side
from rollout.core.score import METRICS
from rollout.core.worst import SUCCESS, Change, change, gains_of, worst_first
from rollout.report.evaluation.lines import open_verdicts
from rollout.report.evaluation.metrics import change_of, known, value_of
from rollout.report.evaluation.plain import visible
from rollout.report.evaluation.proof import culprits

MOST_CASES = 2000
MOST_LETTERS = 12_000_000
"""Of all embedded texts: a page of some megabytes still opens at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """An open verdict that is about cases."""

    key: str
    label: str
    ids: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """What goes into the page, and how many cases do not."""

    data: str
    shown: int
    left_out: int


def checks(report: EvalReport) -> list[Check]:
    """The open verdicts that name cases."""
    found = [(each, culprits(report, each)) for each in open_verdicts(report)]
    return [
        Check(
            key=f"{report.subject.suite}:{each.subject}",
            label=each.subject,
            ids=frozenset(case.id for case in cases),
        )
        for each, cases in found
        if cases
    ]


def embed(evaluation: Evaluation) -> Embedded:
    """Every suite's cases as JSON that may stand in a page: nothing in it can end its element."""
    every = [(report, case) for report in evaluation.reports for case in worst_first(report.measured)]
    # Worst first over all suites, so that what is left out is what nobody looks for.
    every.sort(key=lambda pair: _urgency(*pair))
    kept: list[JsonValue] = []
    known_checks = {id(report): checks(report) for report in evaluation.reports}
    room = MOST_LETTERS
    for report, case in every[:MOST_CASES]:
        room -= _letters(case)
        if room < 0:
            break
        kept.append(_case(report, case, known_checks[id(report)]))
    data: JsonValue = {
        "cases": kept,
        "checks": {check.key: check.label for found in known_checks.values() for check in found},
        "opponent": {report.subject.suite: report.measured.opponent.value for report in evaluation.reports},
    }
    return Embedded(data=in_script(data), shown=len(kept), left_out=len(every) - len(kept))


def in_script(value: JsonValue) -> str:
    """JSON in which no letter means anything to a reader of HTML, nor ends a line of a script."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def _urgency(report: EvalReport, case: Case) -> int:
    return list(Change).index(change(case, report.measured.opponent))


def _case(report: EvalReport, case: Case, found: Sequence[Check]) -> dict[str, JsonValue]:
    suite, measured = report.subject.suite, report.measured
    return {
        "suite": suite,
        "id": case.id,
        "slices": [visible(name) for name in case.slices],
        "change": change(case, measured.opponent).value,
        "checks": [check.key for check in found if case.id in check.ids],
        "messages": [[turn.role, visible(turn.content)] for turn in case.messages],
        "expected": visible(case.reference),
        "replies": {side.value: _replies(case, side) for side in measured.sides},
        "scores": _scores(report, case),
    }


def _replies(case: Case, side: Side) -> list[JsonValue]:
    return [
        [visible(reply.text), f"{reply.completion_tokens} tokens, {visible(reply.finish_reason)}"]
        for reply in case.replies.get(side, ())
    ]


def _scores(report: EvalReport, case: Case) -> list[JsonValue]:
    """A row a metric: title, a value for each side, the change in words and whether it is better (1) or worse."""
    opponent = report.measured.opponent
    gains = gains_of(case, opponent)
    rows: list[JsonValue] = []
    for name in _ordered(name for scores in case.scores.values() for name in scores):
        values = [_value(case.scores.get(side, {}), name) for side in report.measured.sides]
        moved = gains.get(name, 0.0)
        told = change_of(known(name).sign * moved, name) if moved else ""
        rows.append([known(name).title, *values, told, (moved > 0) - (moved < 0)])
    return rows


def _ordered(names: Iterable[str]) -> list[str]:
    order = {name: place for place, name in enumerate(METRICS)}
    return sorted(set(names), key=lambda name: (name != SUCCESS, order.get(name, len(order)), name))


def _value(scores: Mapping[str, float], name: str) -> str:
    found = Estimate(value=scores.get(name), n=int(name in scores))
    return value_of(found, name)


def _letters(case: Case) -> int:
    said = sum(len(reply.text) for replies in case.replies.values() for reply in replies)
    return said + len(case.reference) + sum(len(turn.content) for turn in case.messages)
