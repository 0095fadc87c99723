"""One answer, scored by all: what applies to it, and nothing that nobody knows."""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.core import scorers
from rollout.core.expectation import Expect
from rollout.core.score import METRICS, Unit, is_known, metric, shown, signed
from rollout.core.scorers import SCORERS, Scorers
from rollout.errors import Unreadable
from tests.support.suites import answer, golden, item

REFERENCE = '{"intent": "refund", "priority": "low"}'
SCHEMA = {
    "type": "object",
    "required": ["intent"],
    "properties": {"intent": {"enum": ["refund", "outage"]}},
}
ALL = Scorers(golden(fields=["intent", "priority"], response_schema=SCHEMA))


def scored(text: str, expect: str = "json", **changes: Any) -> dict[str, float]:
    return ALL.score(item(expect=expect, reference=REFERENCE, **changes), answer(text))


def test_every_file_with_a_table_is_registered() -> None:
    folder = Path(scorers.__file__).parent
    with_a_table = {file.stem for file in folder.glob("*.py") if "\nMETRICS = (" in file.read_text()}
    assert with_a_table == {*SCORERS, "likelihood"}


def test_no_metric_is_measured_by_two_scorers() -> None:
    names = [each.id for table, _ in SCORERS.values() for each in table]
    assert len(names) == len(set(names))
    assert set(names) < set(METRICS)


@given(st.text(max_size=200), st.sampled_from(Expect))
def test_any_answer_gets_finite_scores_of_known_metrics(text: str, expect: Expect) -> None:
    scores = scored(text, expect.value, **{"assert": [{"type": "contains", "value": "refund"}]})
    assert all(isfinite(value) and 0 <= value <= 7 for value in scores.values())
    assert all(is_known(name, ("intent", "priority")) for name in scores)
    assert "success" in scores


def test_success_is_what_the_item_expects() -> None:
    right = scored(REFERENCE, **{"assert": [{"type": "contains", "value": "nothing of it"}]})
    assert (right["success"], right["assertion_rate"]) == (1, 0)
    by_assertion = scored(REFERENCE, "assert", **{"assert": [{"type": "contains", "value": "refund"}]})
    assert (by_assertion["success"], by_assertion.get("exact_match")) == (1, None)
    assert scored("I can't help with that.", "refusal")["success"] == 1
    text = scored("refund low", "text")
    assert 0 < text["success"] == text["rouge_l"] < 1


def test_key_order_and_spaces_do_not_matter_to_an_exact_match() -> None:
    scores = scored('{"priority":"low","intent":"refund"}')
    assert (scores["exact_match"], scores["json_compliance"], scores["success"]) == (1, 1, 1)


def test_each_field_is_scored_alone() -> None:
    scores = scored('{"intent":"refund","priority":"high"}')
    assert (scores["exact_match_intent"], scores["exact_match_priority"], scores["exact_match"]) == (1, 0, 0)


def test_true_is_not_one() -> None:
    by = Scorers(golden(fields=["n"]))
    of = item(expect="json", reference='{"n": 1}')
    assert by.score(of, answer('{"n": true}'))["exact_match"] == 0
    assert by.score(of, answer('{"n": 1}'))["exact_match"] == 1


@pytest.mark.parametrize(
    ("text", "parses", "parses_unfenced", "valid", "valid_unfenced"),
    [
        ('{"intent":"refund"}', 1, 1, 1, 1),
        ('```json\n{"intent":"refund"}\n```', 0, 1, 0, 1),
        ('Sure! ```json\n{"intent":"refund"}\n```', 0, 0, 0, 0),
        ('{"intent":"refund"', 0, 0, 0, 0),
        ('{"intent":"lunch"}', 1, 1, 0, 0),
        ('```\n{"intent":"lunch"}\n```', 0, 1, 0, 0),
        ('{"intent":"refund","x":NaN}', 0, 0, 0, 0),
        ("[" * 100_000, 0, 0, 0, 0),
        ("", 0, 0, 0, 0),
        ('"refund"', 1, 1, 0, 0),
    ],
)
def test_json_is_counted_by_four_rates(
    text: str, parses: float, parses_unfenced: float, valid: float, valid_unfenced: float
) -> None:
    scores = scored(text)
    names = ("json_parses", "json_parses_unfenced", "json_compliance", "json_compliance_unfenced")
    assert tuple(scores[name] for name in names) == (parses, parses_unfenced, valid, valid_unfenced)


def test_an_item_brings_its_own_schema() -> None:
    of = item(expect="json", reference="[1]", schema={"type": "array", "maxItems": 1})
    by = Scorers(golden(of, response_schema=SCHEMA))
    assert by.score(of, answer("[1]"))["json_compliance"] == 1
    assert by.score(of, answer("[1, 2]"))["json_compliance"] == 0
    assert by.score(of, answer('{"intent": "refund"}'))["json_compliance"] == 0


@pytest.mark.parametrize(
    "schema", [{"type": "nonsense"}, {"$ref": "http://127.0.0.1:9/never-fetched"}, {"pattern": "("}]
)
def test_a_schema_that_is_wrong_or_wants_the_network_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(Unreadable, match="response schema"):
        Scorers(golden(response_schema=schema))
    with pytest.raises(Unreadable, match="response schema"):
        Scorers(golden(item(expect="json", schema=schema)))


def test_length_is_counted() -> None:
    by = Scorers(golden())
    cut = by.score(item(), answer("{", tokens=64, finish="length"))
    assert (cut["truncated_rate"], cut["completion_tokens"], cut["empty_rate"]) == (1, 64, 0)
    assert by.score(item(), answer(" \n"))["empty_rate"] == 1


def test_a_family_of_metrics_needs_a_name_behind_its_prefix() -> None:
    assert metric("exact_match_intent").title == "exact match, intent"
    assert (metric("task_mmlu").unit, metric("task_mmlu").sign) == (Unit.SHARE, 1)
    assert is_known("task_mmlu", ())
    assert not is_known("exact_match_intent", ("priority",))
    for name in ("exact_match_", "task_", "nonsense"):
        assert not is_known(name, None)
        with pytest.raises(KeyError):
            metric(name)


def test_distances_have_no_opponent() -> None:
    assert {name for name, each in METRICS.items() if each.absolute} == {"kl_base", "kl_champion"}


def test_values_are_shown_with_their_unit() -> None:
    assert shown(0.25, Unit.NATS) == "0.250 nats"
    assert signed(-0.5, Unit.NATS) == "−0.500 nats"
