"""Exact match: the JSON of the answer is that of the reference, whole or field by field."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rollout.core.expectation import Expect
from rollout.core.jsontext import NOT_JSON, canonical, read_json
from rollout.core.scorers.metric import more

if TYPE_CHECKING:
    from rollout.core.answer import Answer
    from rollout.core.scorers import Score
    from rollout.core.suite import Golden, Item

FIELD_PREFIX = "exact_match_"
"""`exact_match_<field>` is a metric for every field that a suite compares."""

METRICS = (more("exact_match", "exact match, all fields"),)


def prepare(golden: Golden) -> Score:
    """Scores items that expect JSON, by the fields of the suite; by the whole value if it names none."""
    fields = golden.suite.fields

    def score(item: Item, answer: Answer) -> dict[str, float]:
        return match(item.reference, answer.text, fields) if item.expect is Expect.JSON else {}

    return score


def match(reference: str, answer: str, fields: Sequence[str]) -> dict[str, float]:
    """1 or 0 for each field, and for all of them. Order of keys and spaces do not matter; true is not 1."""
    wanted, said = read_json(reference), read_json(answer)
    right = {field: _same(wanted, said, field) for field in fields}
    whole = NOT_JSON not in (wanted, said) and canonical(wanted) == canonical(said)
    exact = all(right.values()) if right else whole
    return {"exact_match": float(exact)} | {FIELD_PREFIX + field: float(hit) for field, hit in right.items()}


def _same(wanted: object, said: object, field: str) -> bool:
    if not isinstance(wanted, dict) or not isinstance(said, dict) or field not in said or field not in wanted:
        return False
    return canonical(wanted[field]) == canonical(said[field])
