"""The table of metrics: what can be looked up, and how values are shown."""

from __future__ import annotations

import pytest

from rollout.core.score import METRICS, Unit, is_known, metric, shown, signed, signed_number


def test_differences_have_signs_and_shares_are_points() -> None:
    assert shown(0.978, Unit.SHARE) == "97.8%"
    assert shown(0.05, Unit.SHARE, difference=True) == "5.0 points"
    assert signed(-0.0111, Unit.SHARE) == "−1.1 points"
    assert signed(0.00001, Unit.SHARE) == "0.0 points"
    assert signed(12.3, Unit.MILLISECONDS) == "+12.3 ms"
    assert signed_number(-0.0111, Unit.SHARE) == "−1.1"


@pytest.mark.parametrize("unit", list(Unit))
def test_every_unit_can_be_shown(unit: Unit) -> None:
    assert shown(0.5, unit).startswith(("0.5", "50.0%"))
    assert signed(-0.5, unit).startswith("−")


def test_every_metric_can_be_looked_up() -> None:
    assert all(metric(name).id == name for name in METRICS)
    assert all(is_known(name, ()) for name in METRICS)
    assert metric("exact_match_intent").unit is Unit.SHARE
    with pytest.raises(KeyError):
        metric("accuracy")
