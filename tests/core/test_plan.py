"""Shares are exact and plans end."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rollout.core.plan import WHOLE, Plan, Share


@given(st.integers(0, WHOLE))
def test_every_share_survives_being_written_and_read(thousandths: int) -> None:
    share = Share(thousandths)
    assert Share.parse(str(share)) == share
    assert sum(share.weights) == WHOLE


@pytest.mark.parametrize("text", ["5", "101%", "0.0001%", "-1%", "1e1%", "", "%", "５%x", "100.001%"])
def test_what_is_not_an_exact_share_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="share"):
        Share.parse(text)


@pytest.mark.parametrize("value", [1.5, "5%", True, -1, WHOLE + 1])
def test_a_share_is_a_whole_number_of_thousandths(value: object) -> None:
    with pytest.raises(ValueError, match="thousandths"):
        Share(value)  # type: ignore[arg-type]


def _plan(**changes: object) -> Plan:
    plan: dict[str, object] = {
        "schema": "adapter-rollout/plan/v1",
        "name": "p",
        "steps": [
            {"share": "5%", "bake": "1h", "min_samples": 1},
            {"share": "100%", "bake": "1h", "min_samples": 1},
        ],
        "deadline": "1d",
        "metrics": ["errors"],
    }
    return Plan.model_validate_json(json.dumps(plan | changes), strict=True)


def _steps(*shares: str) -> list[dict[str, object]]:
    return [{"share": share, "bake": "1h", "min_samples": 1} for share in shares]


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        (_steps("5%", "5%", "100%"), "must rise"),
        (_steps("25%", "5%", "100%"), "must rise"),
        (_steps("5%", "50%"), "must be 100 %"),
        (_steps("0%", "100%"), "above 0 %"),
    ],
)
def test_a_plan_rises_to_the_whole(steps: list[dict[str, object]], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        _plan(steps=steps)


@pytest.mark.parametrize("duration", ["1 h", "1.5h", "-1h", "90", 90, "1w"])
def test_a_duration_names_its_unit(duration: object) -> None:
    with pytest.raises(ValidationError, match="duration is a number"):
        _plan(deadline=duration)


def test_a_plan_without_metrics_is_refused() -> None:
    with pytest.raises(ValidationError, match="metrics"):
        _plan(metrics=[])


def test_a_plan_says_what_may_be_wrong_with_who_is_served() -> None:
    usual = _plan()
    assert (usual.max_unkeyed, usual.sample_ratio_alpha) == (Share.parse("20%"), 0.001)
    told = usual.as_input()
    assert (told["max_unkeyed_percent"], told["sample_ratio_alpha"]) == (20.0, 0.001)


@pytest.mark.parametrize(
    "limits",
    [{"max_unkeyed": 0.2}, {"max_unkeyed": "101%"}, {"sample_ratio_alpha": 0}, {"sample_ratio_alpha": 0.2}],
)
def test_limits_of_who_is_served_are_shares_and_small_chances(limits: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(limits))):
        _plan(**limits)
