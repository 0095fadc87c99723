"""The judge passes only on proof, fails only on proof, and never on missing data."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.core.judge import Evidence, judge, observe
from rollout.core.metric import Counts, MetricSpec, Samples, Stage
from rollout.core.stats import staked_anew
from rollout.core.verdict import Outcome, Verdict
from tests.core.factories import metric


def samples(stable: tuple[int, int] | None, candidate: tuple[int, int] | None) -> Samples:
    def counts(pair: tuple[int, int] | None) -> Counts | None:
        return None if pair is None else Counts(total=pair[0], bad=pair[1])

    return Samples(metric="errors", since="0", until="1", stable=counts(stable), candidate=counts(candidate))


def verdict(*looks: Samples, spec: MetricSpec | None = None, stage: Stage = Stage.CANARY) -> Verdict:
    spec = spec or metric()
    evidence = Evidence()
    for look in looks:
        evidence = observe(evidence, spec, look)
    return judge(spec, evidence, stage=stage, alpha=0.01, alpha_advance=0.05)


def test_two_failure_free_arms_pass_in_reasonable_time() -> None:
    judged = verdict(samples((600, 0), (70, 0)))
    assert judged.outcome is Outcome.PASS
    assert "no worse by more than 10.0%" in judged.reason


def test_few_good_requests_prove_nothing() -> None:
    judged = verdict(samples((600, 0), (49, 0)))
    assert judged.outcome is Outcome.INCONCLUSIVE
    assert judged.reason == "49 of 50 samples so far"


def test_enough_requests_that_leave_the_margin_open_prove_nothing() -> None:
    judged = verdict(samples((600, 0), (60, 3)))
    assert judged.outcome is Outcome.INCONCLUSIVE
    assert "not yet proven" in judged.reason


def test_harm_is_shown_before_the_minimum_of_samples() -> None:
    judged = verdict(*[samples((90, 1), (10, 5))] * 3)
    assert judged.outcome is Outcome.FAIL
    assert "against no worse (limit 100 : 1)" in judged.reason
    assert judged.samples == (270, 30)


def test_a_zero_baseline_does_not_hide_harm() -> None:
    assert verdict(*[samples((90, 0), (10, 3))] * 5).outcome is Outcome.FAIL


def test_a_better_candidate_is_never_harmful() -> None:
    assert verdict(*[samples((100, 50), (100, 1))] * 5).outcome is Outcome.PASS


def test_a_shared_outage_is_not_the_candidates_harm() -> None:
    assert verdict(*[samples((90, 45), (10, 5))] * 20).outcome is not Outcome.FAIL


@pytest.mark.parametrize(
    ("look", "silent"),
    [
        (samples((0, 0), (0, 0)), "either arm"),
        (samples((500, 0), (0, 0)), "the candidate"),
        (samples((0, 0), (500, 0)), "stable"),
        (samples(None, None), "either arm"),
        (samples((500, 0), None), "either arm"),
    ],
)
def test_missing_data_is_no_data_and_never_a_pass(look: Samples, silent: str) -> None:
    judged = verdict(look)
    assert judged.outcome is Outcome.NO_DATA
    assert judged.reason == f"no requests of {silent} yet"


def test_a_metric_that_must_have_data_fails_without() -> None:
    judged = verdict(samples((500, 0), (0, 0)), spec=metric(on_missing="fail"))
    assert judged.outcome is Outcome.FAIL
    assert "must have data" in judged.reason


def test_nothing_observed_is_no_data() -> None:
    assert verdict().outcome is Outcome.NO_DATA


def test_at_the_whole_share_only_the_absolute_limit_is_judged() -> None:
    assert verdict(samples((0, 0), (200, 2)), stage=Stage.BAKE).outcome is Outcome.PASS
    failed = verdict(samples((0, 0), (200, 60)), stage=Stage.BAKE)
    assert (failed.outcome, "above the limit of 10.0%" in failed.reason) == (Outcome.FAIL, True)
    assert verdict(samples((0, 0), (60, 5)), stage=Stage.BAKE).outcome is Outcome.INCONCLUSIVE
    assert verdict(samples((0, 0), (0, 0)), stage=Stage.BAKE).outcome is Outcome.NO_DATA


def test_a_metric_without_an_absolute_limit_cannot_carry_the_whole_share() -> None:
    judged = verdict(samples((0, 0), (500, 0)), spec=metric(max_rate=None), stage=Stage.BAKE)
    assert judged.outcome is Outcome.INCONCLUSIVE
    assert not judged.required


def test_a_new_step_begins_its_counts_anew_and_keeps_the_evidence_of_harm() -> None:
    evidence = observe(Evidence(), metric(), samples((90, 1), (10, 4)))
    carried = evidence.carried_into_next_step()
    assert carried.log_e == staked_anew(evidence.log_e, 0)
    assert all(after > before for after, before in zip(carried.log_e, evidence.log_e, strict=True))
    assert (carried.stable, carried.candidate) == (0, 0)


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="impossible"):
        Counts(total=3, bad=4)


RATES = st.tuples(st.integers(0, 60), st.integers(0, 60)).map(lambda pair: (max(pair), min(pair)))


@given(looks=st.lists(st.tuples(RATES, RATES), min_size=1, max_size=6))
def test_swapping_the_arms_never_shows_harm_on_both_sides(
    looks: list[tuple[tuple[int, int], tuple[int, int]]],
) -> None:
    one = verdict(*[samples(stable, candidate) for stable, candidate in looks])
    other = verdict(*[samples(candidate, stable) for stable, candidate in looks])
    assert not (one.outcome is Outcome.FAIL and other.outcome is Outcome.FAIL)


@given(looks=st.lists(st.tuples(RATES, RATES), min_size=1, max_size=6))
def test_the_same_looks_give_the_same_verdict(
    looks: list[tuple[tuple[int, int], tuple[int, int]]],
) -> None:
    seen = [samples(stable, candidate) for stable, candidate in looks]
    assert verdict(*seen) == verdict(*seen)
