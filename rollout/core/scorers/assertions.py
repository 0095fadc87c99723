"""Assertions: what must hold of this very answer, case by case."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, assert_never

from rollout.core.automaton import Automaton
from rollout.core.expectation import Assertion, Check
from rollout.core.jsontext import NOT_JSON, find_json, read_json
from rollout.core.scorers.compliance import validator
from rollout.core.scorers.metric import more
from rollout.core.scorers.refusal import reader
from rollout.core.scorers.rouge import rouge_l

if TYPE_CHECKING:
    from rollout.core.answer import Answer
    from rollout.core.scorers import Score
    from rollout.core.suite import Golden, Item

METRICS = (more("assertion_rate", "assertions hold, all of the case"),)

CLOSE_ENOUGH = 0.75
"""ROUGE-L that `rouge-l` asks for if it says nothing else; promptfoo has the same."""


def prepare(golden: Golden) -> Score:
    """Scores items with assertions: 1 if all of them hold."""
    is_refusal = reader(golden.suite.refusals)

    def score(item: Item, answer: Answer) -> dict[str, float]:
        if not item.assert_:
            return {}
        return {"assertion_rate": float(all(holds(one, answer.text, is_refusal) for one in item.assert_))}

    return score


def holds(assertion: Assertion, text: str, is_refusal: Callable[[str], bool]) -> bool:
    """Whether an assertion holds. Nothing holds of an empty answer, not even a `not-`."""
    if not text.strip():
        return False
    return _is_so(assertion, text, is_refusal) is not assertion.negated


def _is_so(assertion: Assertion, text: str, is_refusal: Callable[[str], bool]) -> bool:
    value, lower = assertion.value, text.casefold()
    one = value if isinstance(value, str) else ""
    many = value if isinstance(value, tuple) else ()
    schema = value if isinstance(value, dict) else None
    match assertion.check:
        case Check.EQUALS:
            return text.strip() == one.strip()
        case Check.CONTAINS:
            return one in text
        case Check.ICONTAINS:
            return one.casefold() in lower
        case Check.CONTAINS_ANY:
            return any(each in text for each in many)
        case Check.ICONTAINS_ANY:
            return any(each.casefold() in lower for each in many)
        case Check.CONTAINS_ALL:
            return all(each in text for each in many)
        case Check.ICONTAINS_ALL:
            return all(each.casefold() in lower for each in many)
        case Check.STARTS_WITH:
            return text.lstrip().startswith(one.lstrip())
        case Check.REGEX:
            return _automaton(one).is_in(text)
        case Check.IS_JSON:
            return _is_valid(read_json(text), validator(schema))
        case Check.CONTAINS_JSON:
            return _is_valid(find_json(text), validator(schema))
        case Check.IS_REFUSAL:
            return is_refusal(text)
        case Check.ROUGE_L:
            return rouge_l(one, text) >= (assertion.threshold or CLOSE_ENOUGH)
        case _:
            assert_never(assertion.check)


def _is_valid(value: object, is_valid: Callable[[object], bool]) -> bool:
    return value is not NOT_JSON and is_valid(value)


_automaton = lru_cache(maxsize=1024)(Automaton)
