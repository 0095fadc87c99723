"""Gate files: the form of the field loads as it is; what could never block or never pass is refused."""

from __future__ import annotations

import json
from math import inf, nan
from typing import Any

import pytest
from pydantic import ValidationError

from rollout.core.gatefile import Gate, Gates, Margin, OnInconclusive, SliceLimits

FIELD_FORM = {
    "rouge_l": {"min": 0.65, "description": "close to the references"},
    "latency_p95_ms": {"max": 500},
    "json_compliance": {"min": 0.95},
    "refusal_rate": {"min": 0.98},
    "tokens_per_second": {"min": 50},
    "exact_match_intent": {"min": 0.9},
}


def test_a_gate_file_in_the_form_of_the_field_loads_as_it_is() -> None:
    gates = Gates.model_validate_json(json.dumps({"gates": FIELD_FORM}), strict=True)
    assert gates.gates["latency_p95_ms"] == Gate(max=500)
    assert all(gate.required for gate in gates.gates.values())


def test_what_a_gate_file_does_not_say_is_strict() -> None:
    gates = Gates.model_validate({"gates": {"rouge_l": {"min": 0.65}}})
    assert (gates.confidence, gates.on_inconclusive, gates.agreement) == (
        0.95,
        OnInconclusive.BLOCK,
        "required",
    )


def test_a_gate_asks_for_limits_margins_and_slices_at_once() -> None:
    text = json.dumps(
        {
            "gates": {
                "exact_match": {
                    "min": 0.7,
                    "vs_champion": {"max_loss": 0.03, "confidence": 0.99},
                    "vs_base": {"max_loss": 0.01},
                    "slices": {"min": 0.5, "max_loss": 0.2},
                    "required": False,
                }
            }
        }
    )
    gate = Gates.model_validate_json(text, strict=True).gates["exact_match"]
    assert gate.vs_champion == Margin(max_loss=0.03, confidence=0.99)
    assert gate.vs_base == Margin(max_loss=0.01)
    assert gate.vs_base.confidence is None
    assert gate.slices == SliceLimits(min=0.5, max_loss=0.2)
    assert not gate.required


@pytest.mark.parametrize(
    ("gates", "reason"),
    [
        ({}, "at least 1"),
        ({"rouge_l": {"description": "no limit"}}, "needs min, max, vs_champion, vs_base or slices"),
        ({"rouge_l": {"required": False}}, "else it would always pass"),
        ({"rouge_l": {"min": 0.9, "max": 0.1}}, "nothing can pass"),
        ({"rogue_l": {"min": 0.65}}, "no metric 'rogue_l'"),
        ({"exact_match_": {"min": 0.1}}, "no metric"),
        ({"task_": {"min": 0.1}}, "no metric"),
        ({"rouge_l": {"minimum": 0.65}}, "Extra inputs"),
        ({"rouge_l": {"min": nan}}, "finite"),
        ({"rouge_l": {"max": inf}}, "finite"),
        ({"rouge_l": {"vs_champion": {}}}, "max_loss"),
        ({"rouge_l": {"vs_champion": {"max_loss": 0}}}, "greater than 0"),
        ({"rouge_l": {"vs_champion": {"max_loss": -0.1}}}, "greater than 0"),
        ({"rouge_l": {"vs_champion": {"max_loss": nan}}}, "greater than 0|finite"),
        ({"rouge_l": {"vs_champion": {"max_loss": 0.1, "confidence": 0.5}}}, "greater than or equal to 0.8"),
        ({"rouge_l": {"vs_champion": {"max_loss": 0.1, "confidence": 1}}}, "less than 1"),
        ({"rouge_l": {"vs_champion": 0.03}}, "valid dictionary"),
        ({"rouge_l": {"slices": {}}}, "slices need min, max or max_loss"),
        ({"rouge_l": {"slices": {"min": 0.9, "max": 0.1}}}, "nothing can pass"),
        ({"rouge_l": {"slices": {"max_loss": 0}}}, "greater than 0"),
        ({"exact_match": {"min": 90}}, "limits are fractions, 0.05 are 5 points"),
        ({"empty_rate": {"max": 2}}, "empty_rate lies between 0 and 1, not at 2"),
        ({"rouge_l": {"min": -0.1}}, "lies between 0 and 1"),
        ({"exact_match": {"slices": {"min": 80}}}, "lies between 0 and 1, not at 80"),
        (
            {"exact_match": {"vs_champion": {"max_loss": 5}}},
            "may lose 5, 0.5 is the most: losses are fractions",
        ),
        ({"rouge_l": {"vs_champion": {"max_loss": 1.0}}}, "0.05 are 5 points"),
        ({"exact_match": {"vs_base": {"max_loss": 0.51}}}, "may lose 0.51"),
        ({"exact_match": {"slices": {"max_loss": 1}}}, "may lose 1"),
        ({"latency_p95_ms": {"vs_champion": {"max_loss": 10}}}, "it takes min or max, not a margin"),
        ({"tokens_per_second": {"slices": {"min": 10}}}, "timed and not paired by item"),
        ({"kl_base": {"vs_champion": {"max_loss": 0.1}}}, "speaks of the candidate alone"),
        ({"kl_champion": {"slices": {"max_loss": 0.1}}}, "speaks of the candidate alone"),
    ],
)
def test_a_gate_that_could_never_block_or_never_pass_is_refused(gates: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        Gates.model_validate({"gates": gates})


def test_what_has_no_bounds_takes_any_limit_and_loss() -> None:
    gates = {"perplexity": {"max": 3, "vs_champion": {"max_loss": 2}}, "completion_tokens": {"max": 200}}
    assert Gates.model_validate({"gates": gates}).gates["perplexity"].max == 3


def test_a_distance_takes_limits_over_all_and_in_slices() -> None:
    gates = Gates.model_validate({"gates": {"kl_base": {"max": 2.0, "slices": {"max": 3.0}}}})
    assert gates.gates["kl_base"].slices == SliceLimits(max=3.0)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"confidence": 1.0}, "less than 1"),
        ({"confidence": 0.5}, "greater than or equal to 0.8"),
        ({"on_inconclusive": "pass"}, "'block' or 'warn'"),
        ({"agreement": "ignored"}, "'required' or 'optional'"),
        ({"seed": -1}, "greater than or equal to 0"),
        ({"surprise": 1}, "Extra inputs"),
        ({"champion_margin": {"exact_match": 0.03}}, "Extra inputs"),
    ],
)
def test_a_gate_file_that_cannot_be_meant_is_refused(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        Gates.model_validate({"gates": FIELD_FORM, **change})
