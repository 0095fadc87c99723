"""The verdicts themselves, not only the evidence behind them, are safe to be looked at all the time."""

from __future__ import annotations

import numpy as np
import pytest

from rollout.core.judge import Evidence, judge, observe
from rollout.core.metric import MetricSpec, Stage
from rollout.core.verdict import Outcome
from tests.core.judging import counted, rate

RUNS, LOOKS, ALPHA = 150, 48, 0.05
MOST = ALPHA + 2 * (ALPHA * (1 - ALPHA) / RUNS) ** 0.5


def ever(outcome: Outcome, spec: MetricSpec, *, stable: float, candidate: float) -> float:
    """The part of releases that meet an outcome at any look; each has 95 and 100 requests."""
    generator = np.random.default_rng(11)
    found = 0
    for _ in range(RUNS):
        evidence = Evidence()
        for bad in zip(
            generator.binomial(95, stable, LOOKS), generator.binomial(100, candidate, LOOKS), strict=True
        ):
            evidence = observe(evidence, spec, counted((95, int(bad[0])), (100, int(bad[1]))))
            verdict = judge(spec, evidence, stage=Stage.CANARY, alpha=ALPHA, alpha_advance=ALPHA)
            if verdict.outcome is outcome:
                found += 1
                break
    return found / RUNS


@pytest.mark.parametrize(("base", "tolerance"), [(0.01, 1.25), (0.2, 1.0)])
def test_equal_arms_are_rarely_called_worse_at_any_of_many_looks(base: float, tolerance: float) -> None:
    """F11: a threshold that holds for one look is exceeded by a third of what is good when it is asked all day."""
    spec = rate(max_abs=0.02, tolerance=tolerance)
    assert ever(Outcome.FAIL, spec, stable=base, candidate=base) <= MOST


def test_what_is_as_bad_as_accepted_rarely_passes_at_any_of_many_looks() -> None:
    """F11: nor does asking again and again make a pass of what is none."""
    spec = rate(max_odds=2, tolerance=3.0)
    assert ever(Outcome.PASS, spec, stable=0.05, candidate=0.0952) <= MOST  # twice the odds


def test_what_is_much_worse_is_called_so_in_nearly_all_releases() -> None:
    """F11: or the two above would hold of a judge that never says anything."""
    assert ever(Outcome.FAIL, rate(max_abs=0.02), stable=0.01, candidate=0.05) >= 0.95
