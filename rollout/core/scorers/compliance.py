"""JSON compliance: does the answer parse, and is it what the JSON Schema asks; as written, and once unfenced."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from pydantic import JsonValue

from rollout.core.expectation import Expect
from rollout.core.jsontext import NOT_JSON, canonical, read_json, strip_fence
from rollout.core.scorers.metric import more
from rollout.errors import Unreadable

if TYPE_CHECKING:
    from rollout.core.answer import Answer
    from rollout.core.scorers import Score
    from rollout.core.suite import Golden, Item

METRICS = (
    more("json_compliance", "valid JSON"),
    more("json_compliance_unfenced", "valid JSON once unfenced"),
    more("json_parses", "parses as JSON"),
    more("json_parses_unfenced", "parses as JSON once unfenced"),
)

IsValid = Callable[[object], bool]


def prepare(golden: Golden) -> Score:
    """Scores items that expect JSON or bring a schema of their own; that one goes before the suite's.

    Raises Unreadable if a schema is not valid.
    """
    common = validator(golden.response_schema)
    own = {item.id: validator(item.response_schema) for item in golden.items if item.response_schema}

    def score(item: Item, answer: Answer) -> dict[str, float]:
        if item.expect is not Expect.JSON and item.response_schema is None:
            return {}
        return rates(answer.text, own.get(item.id, common))

    return score


def rates(text: str, is_valid: IsValid) -> dict[str, float]:
    """The four rates of one answer, each 1 or 0."""
    said, unfenced = read_json(text), read_json(strip_fence(text))
    return {
        "json_parses": float(said is not NOT_JSON),
        "json_parses_unfenced": float(unfenced is not NOT_JSON),
        "json_compliance": float(said is not NOT_JSON and is_valid(said)),
        "json_compliance_unfenced": float(unfenced is not NOT_JSON and is_valid(unfenced)),
    }


def validator(schema: Mapping[str, JsonValue] | None) -> IsValid:
    """Whether a value is valid; without a schema all are. Raises Unreadable if the schema is not."""
    return (lambda _: True) if schema is None else _compiled(canonical(schema))


@lru_cache(maxsize=1024)
def _compiled(schema: str) -> IsValid:
    import jsonschema_rs

    try:
        # Offline: a schema must never make the evaluation fetch something.
        compiled = jsonschema_rs.validator_for(schema, offline=True)
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        raise Unreadable(f"the response schema is not valid: {str(error).splitlines()[0]}") from None

    def is_valid(value: object) -> bool:
        try:
            return bool(compiled.is_valid(value))
        except (ValueError, OverflowError, RecursionError):
            return False

    return is_valid
