"""A forecast says what a proof costs and what a step can see, and says so when it never will."""

from __future__ import annotations

import pytest

from rollout.core.forecast import Outlook, detectable_harm, requests_to_prove
from rollout.core.metric import MetricSpec, Stage
from rollout.core.plan import Share
from rollout.core.verdict import Outcome
from tests.core.judging import counted, judged, latency, paired, rate, score

FIVE, HALF = Share.parse("5%"), Share.parse("50%")


def test_failure_free_arms_are_proven_with_the_very_number_that_was_forecast() -> None:
    forecast = requests_to_prove(rate(), FIVE, alpha_advance=0.05)
    assert forecast is not None
    for number, outcome in ((forecast, Outcome.PASS), (forecast - 1, Outcome.INCONCLUSIVE)):
        assert judged(rate(), counted((number * 19, 0), (number, 0))).outcome is outcome


def test_odds_alone_never_prove_anything_of_arms_without_failures() -> None:
    assert requests_to_prove(rate(max_odds=2), FIVE, alpha_advance=0.05) is None
    assert detectable_harm(rate(max_odds=2), FIVE, 1000, alpha=0.01) is not None, "harm would still be seen"


def test_a_wider_margin_a_weaker_proof_and_fewer_failures_cost_less() -> None:
    def cost(spec: MetricSpec, alpha: float = 0.05, base: float = 0.01) -> int:
        found = requests_to_prove(spec, FIVE, alpha_advance=alpha, outlook=Outlook(base_rate=base))
        assert found is not None
        return found

    assert cost(rate(max_odds=3)) < cost(rate(max_odds=2))
    assert cost(rate(max_odds=2), alpha=0.2) < cost(rate(max_odds=2))
    assert cost(rate()) > cost(rate(), base=0.001)
    assert cost(latency(max_ratio=1.1)) > cost(latency())
    assert cost(score(max_abs=0.01)) > cost(score())
    assert cost(rate(design_effect=3)) > 2 * cost(rate())
    assert cost(rate(min_samples=10**6)) == 10**6


def test_pairs_of_scores_are_proven_with_about_the_number_that_was_forecast() -> None:
    forecast = requests_to_prove(score(), HALF, alpha_advance=0.05, outlook=Outlook(score_spread=0.2))
    assert forecast is not None
    pairs = [0.2, -0.2] * forecast
    enough, few = paired(*pairs[: 2 * (forecast // 2 + 4)]), paired(*pairs[: forecast // 2])
    assert judged(score(), enough, stage=Stage.SHADOW).outcome is Outcome.PASS
    assert judged(score(), few, stage=Stage.SHADOW).outcome is not Outcome.PASS


@pytest.mark.parametrize("spec", [rate(), latency(), score()], ids=lambda spec: spec.id)
def test_more_requests_show_less_harm_and_too_few_none(spec: MetricSpec) -> None:
    seen = [detectable_harm(spec, FIVE, requests, alpha=0.01) for requests in (100, 1000, 10_000)]
    few, some, many = seen
    assert few is not None
    assert some is not None
    assert many is not None
    assert few > some > many
    assert detectable_harm(spec, FIVE, 0, alpha=0.01) is None
    assert detectable_harm(spec, FIVE, 1, alpha=1e-9) is None


@pytest.mark.parametrize("outlook", [{"base_rate": 1.0}, {"base_rate": -0.1}, {"latency_spread": 0.0}])
def test_an_impossible_outlook_is_refused(outlook: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="a rate is 0 or more"):
        Outlook(**outlook)
