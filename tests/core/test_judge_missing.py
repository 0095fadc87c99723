"""Missing, odd and scarce data: a truth table in which nothing that is not there ever passes.

Each test names the failure of another system (F1 to F15) or the rule that it holds the judge to.
"""

from __future__ import annotations

from datetime import timedelta
from itertools import product
from math import inf, nan

import pytest

from rollout.core.judge import Evidence, judge, observe
from rollout.core.metric import Counts, MetricSpec, Moments, OnMissing, Requirement, Samples, Stage
from rollout.core.verdict import Analysis, Outcome, Verdict
from tests.core.judging import NOON, averaged, counted, judged, latency, paired, rate, score, seen, timed

GOOD = counted((9500, 95), (2500, 25))
SPECS = (rate(), latency(), score())


def asked(
    spec: MetricSpec,
    evidence: Evidence,
    *,
    after: timedelta = timedelta(),
    stage: Stage = Stage.CANARY,
    requires: Requirement = Requirement.NON_INFERIOR,
) -> Verdict:
    return judge(
        spec, evidence, stage=stage, alpha=0.01, alpha_advance=0.05, requires=requires, now=NOON + after
    )


def good(spec: MetricSpec) -> Samples:
    """A look after which the metric passes."""
    if spec.id == "wait":
        return timed(
            spec, [float(each) for each in range(1, 4001)], [float(each) for each in range(1, 4001, 2)]
        )
    return paired(*[0.01, -0.01] * 1000) if spec.id == "taste" else GOOD


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.id)
@pytest.mark.parametrize("requires", Requirement)
def test_good_data_that_are_fresh_pass_and_the_same_data_that_are_old_do_not(
    spec: MetricSpec, requires: Requirement
) -> None:
    """Rule 1: an arm that is silent for longer than `max_silence` is no data, though earlier sums would pass."""
    evidence = seen(spec, good(spec))
    fresh = asked(spec, evidence, after=timedelta(minutes=30), requires=requires)
    assert fresh.outcome is Outcome.PASS, fresh.reason
    old = asked(spec, evidence, after=timedelta(minutes=31), requires=requires)
    assert old.outcome is Outcome.NO_DATA
    assert old.reason == (
        "nothing was heard of stable and the candidate for more than 30 minutes: what was seen before is too old"
    )


@pytest.mark.parametrize(
    ("look", "named"),
    [
        (counted((9500, 95), (0, 0)), "the candidate"),
        (counted((9500, 95), None), "the candidate"),
        (counted((0, 0), (500, 5)), "stable"),
        (counted(None, (500, 5)), "stable"),
    ],
)
def test_the_arm_that_fell_silent_is_named(look: Samples, named: str) -> None:
    """Rules 1 and 2, F15: without a control beside it at the same time there is no comparison."""
    spec = rate()
    evidence = seen(spec, GOOD)
    for minutes in (10, 20, 30, 40):
        evidence = observe(evidence, spec, look, now=NOON + timedelta(minutes=minutes))
    verdict = asked(spec, evidence, after=timedelta(minutes=40))
    assert verdict.outcome is Outcome.NO_DATA
    assert verdict.reason.startswith(f"nothing was heard of {named} for more than 30 minutes")


def test_one_look_without_requests_adds_nothing_and_changes_nothing() -> None:
    """Rule 1: a quiet look is neither good nor bad."""
    spec = rate()
    before = seen(spec, GOOD)
    after = observe(before, spec, counted((500, 5), (0, 0)), now=NOON + timedelta(minutes=5))
    assert after.log_e == before.log_e
    assert asked(spec, after, after=timedelta(minutes=5)).outcome is Outcome.PASS


def test_old_evidence_that_does_not_say_when_it_was_heard_is_too_old() -> None:
    evidence = Evidence(stable=9500, stable_bad=95, candidate=2500, candidate_bad=25)
    assert asked(rate(), evidence).outcome is Outcome.NO_DATA
    unasked = judge(rate(), evidence, stage=Stage.CANARY, alpha=0.01, alpha_advance=0.05)
    assert unasked.outcome is Outcome.PASS, "nobody asks how late it is"


def test_harm_that_was_shown_stays_harm_when_the_candidate_falls_silent() -> None:
    evidence = seen(rate(), *[counted((950, 10), (50, 25))] * 3)
    verdict = asked(rate(), evidence, after=timedelta(days=2))
    assert verdict.outcome is Outcome.FAIL
    assert verdict.reason.startswith("worse: 75/150 (50.0%) in the candidate")


def test_at_the_whole_share_a_silent_candidate_is_no_data_and_stable_is_not_missed() -> None:
    spec = rate(max_rate=0.05)
    evidence = seen(spec, counted((0, 0), (2000, 20)))
    assert asked(spec, evidence, stage=Stage.BAKE).outcome is Outcome.PASS
    old = asked(spec, evidence, stage=Stage.BAKE, after=timedelta(hours=1))
    assert old.outcome is Outcome.NO_DATA
    assert old.reason.startswith("nothing was heard of the candidate for more than 30 minutes")


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.id)
def test_a_metric_that_is_never_seen_names_itself_and_doubts_its_name(spec: MetricSpec) -> None:
    """Rule 3, F4: a misspelt metric, or an exporter that is gone, can never pass."""
    once = judged(spec, counted(None, None))
    assert (once.outcome, once.reason) == (Outcome.NO_DATA, "no requests of either arm yet")
    verdict = judged(spec, *[counted(None, None)] * 5)
    assert verdict.outcome is Outcome.NO_DATA
    assert verdict.sentence == (
        f"{spec.id}: no requests of either arm yet; nothing was seen in 5 looks: is it measured under this name?"
    )


@pytest.mark.parametrize(("spec", "requires", "stage"), list(product(SPECS, Requirement, Stage)))
def test_no_look_at_all_never_passes(spec: MetricSpec, requires: Requirement, stage: Stage) -> None:
    """F1, F2: success is never inferred from limits that were not exceeded."""
    verdict = asked(spec, Evidence(), requires=requires, stage=stage)
    assert verdict.outcome in (Outcome.NO_DATA, Outcome.INCONCLUSIVE)
    assert verdict.reason


@pytest.mark.parametrize("requires", Requirement)
def test_a_latency_that_was_counted_and_never_timed_is_no_data(requires: Requirement) -> None:
    """F5: requests without times are no good times, whatever is required."""
    spec = latency()
    verdict = asked(spec, seen(spec, GOOD), requires=requires)
    assert verdict.outcome is Outcome.NO_DATA
    assert verdict.reason == "no times of both arms to compare yet at P50 and P95"


def test_a_quantile_that_was_never_compared_is_no_data_though_the_other_is_good() -> None:
    look = good(latency())
    only = counted((4000, 0), (2000, 0), marks=tuple(each for each in look.marks if each.quantile == 0.5))
    verdict = asked(latency(), seen(latency(), only), requires=Requirement.NO_HARM)
    assert (verdict.outcome, verdict.reason) == (
        Outcome.NO_DATA,
        "no times of both arms to compare yet at P95",
    )


def test_times_that_stop_coming_are_old_though_requests_are_counted() -> None:
    spec = latency()
    evidence = seen(spec, good(spec))
    for minutes in (10, 20, 30, 40):
        evidence = observe(evidence, spec, GOOD, now=NOON + timedelta(minutes=minutes))
    verdict = asked(spec, evidence, after=timedelta(minutes=40))
    assert verdict.outcome is Outcome.NO_DATA
    assert verdict.reason == "nothing of both arms at once could be compared for more than 30 minutes"


@pytest.mark.parametrize("requires", Requirement)
def test_a_score_that_was_counted_and_never_given_is_no_data(requires: Requirement) -> None:
    verdict = asked(score(), seen(score(), GOOD), requires=requires)
    assert (verdict.outcome, verdict.reason) == (Outcome.NO_DATA, "no scores of both arms to compare yet")


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.id)
def test_missing_data_of_a_metric_that_must_have_them_fail(spec: MetricSpec) -> None:
    """`on_missing: fail` turns every silence into a failure, and says so; there is no `pass`."""
    strict = spec.model_copy(update={"on_missing": OnMissing.FAIL})
    for evidence, after in (
        (Evidence(), timedelta()),
        (seen(strict, counted(None, None)), timedelta()),
        (seen(strict, good(strict)), timedelta(hours=1)),
    ):
        verdict = asked(strict, evidence, after=after)
        assert verdict.outcome is Outcome.FAIL
        assert verdict.reason.endswith(", and the metric must have data")


@pytest.mark.parametrize("stage", Stage)
def test_what_must_have_data_is_waited_for_as_long_as_it_may_be_silent(stage: Stage) -> None:
    """The first look at a step is often empty: that is no data, which holds, and no failure yet."""
    strict = rate(on_missing="fail", max_rate=0.1)
    evidence = seen(strict, counted((0, 0), (0, 0)))
    for minutes, outcome in ((0, Outcome.NO_DATA), (30, Outcome.NO_DATA), (31, Outcome.FAIL)):
        at = NOON + timedelta(minutes=minutes)
        verdict = judge(strict, evidence, stage=stage, alpha=0.01, alpha_advance=0.05, now=at, since=NOON)
        assert verdict.outcome is outcome
        assert verdict.reason.endswith(", and the metric must have data") is (outcome is Outcome.FAIL)


@pytest.mark.parametrize("odd", [nan, inf, -inf], ids=str)
def test_what_is_no_number_never_enters_the_evidence(odd: float) -> None:
    """F3, rule 4: refused where it comes in, and so never replaced by 0 and never compared."""
    with pytest.raises(ValueError, match="between -1 and 1"):
        paired(odd)
    with pytest.raises(ValueError, match="finite"):
        Moments(number=3, sum=odd, squares=1.0)
    with pytest.raises(ValueError, match="finite"):
        Evidence(log_e=(odd,) * 6)
    if odd != inf:
        with pytest.raises(ValueError, match="a time is a number"):
            timed(latency(), [1.0, odd], [1.0])


def test_invalid_values_are_a_count_metric_of_their_own() -> None:
    """Rule 4: a candidate whose values are no numbers is found by how often that happens."""
    verdict = judged(rate(id="invalid_values", event="invalid"), *[counted((950, 0), (50, 9))] * 2)
    assert verdict.outcome is Outcome.FAIL
    assert verdict.sentence.startswith(
        "invalid_values: worse: 18/100 (18.0%) in the candidate, 0/1,900 (0.0%)"
    )


def test_a_time_out_is_the_slowest_time_and_shows_harm() -> None:
    """Rule 5: what was given up after a minute does not make an arm look quick."""
    spec = latency()
    look = timed(spec, [float(each) for each in range(1, 951)], [inf] * 20 + [5.0] * 30)
    verdict = judged(spec, look, look)
    assert verdict.outcome is Outcome.FAIL
    assert "beyond the common P95" in verdict.reason


def test_no_group_of_metrics_without_data_passes() -> None:
    """F1, F5: nothing judged is inconclusive, and one metric without data holds the others."""
    assert Analysis().outcome is Outcome.INCONCLUSIVE
    passed, missing = judged(rate(), GOOD, GOOD, GOOD), judged(rate(), counted(None, None))
    assert passed.outcome is Outcome.PASS
    assert Analysis(verdicts=(passed, missing)).outcome is Outcome.NO_DATA


def test_errors_against_none_are_harm() -> None:
    """F6: judges that compare by ratio, or ignore an effect that is no number, pass a baseline of zero."""
    verdict = judged(rate(), *[counted((950, 0), (50, 4))] * 3)
    assert verdict.outcome is Outcome.FAIL
    assert "12/150 (8.0%) in the candidate, 0/2,850 (0.0%) in stable" in verdict.reason


@pytest.mark.parametrize(
    ("spec", "look", "outcome"),
    [
        (rate(), counted((500, 500), (500, 500)), Outcome.PASS),
        (rate(max_odds=2), counted((500, 500), (500, 500)), Outcome.INCONCLUSIVE),
        (latency(), timed(latency(), [7.0] * 500, [7.0] * 500), Outcome.PASS),
        (
            latency(buckets=[5, 10]),
            timed(latency(buckets=[5, 10]), [7.0] * 500, [7.0] * 500),
            Outcome.INCONCLUSIVE,
        ),
        (score(), paired(*[0.0] * 40), Outcome.INCONCLUSIVE),
    ],
    ids=["rate", "odds", "latency", "one bucket", "score"],
)
def test_arms_that_are_constant_are_judged_without_noise(
    spec: MetricSpec, look: Samples, outcome: Outcome
) -> None:
    """F7: nothing random is added to make a test possible; the verdict is the same every time."""
    one, other = judged(spec, look), judged(spec, look)
    assert one == other
    assert one.outcome is outcome
    assert one.e_value is not None
    assert one.e_value <= 1


@pytest.mark.parametrize("requires", Requirement)
def test_little_traffic_is_inconclusive_and_one_error_of_five_is_no_harm(requires: Requirement) -> None:
    """F8: one failure in five is a huge percentage and hardly any evidence; nor do five good ones pass."""
    bad = judged(rate(), counted((95, 0), (5, 1)), requires=requires)
    assert (bad.outcome, bad.reason) == (Outcome.INCONCLUSIVE, "5 of 50 samples so far")
    assert bad.e_value is not None
    assert bad.e_value < 10
    assert judged(rate(), counted((95, 0), (5, 0)), requires=requires).outcome is Outcome.INCONCLUSIVE


def test_tiny_looks_say_as_much_as_a_large_one_nearly() -> None:
    """Rule 11: five requests a look are exact too."""
    many = judged(rate(), *[counted((95, 1), (5, 1))] * 40)
    one = judged(rate(), counted((3800, 40), (200, 40)))
    assert many.outcome is one.outcome is Outcome.FAIL


def test_a_slow_hour_of_both_is_nobodys_harm() -> None:
    """F15: the control is stable at the same time; an absolute limit would have taken this candidate back."""
    looks = []
    for load in (1.0, 1.4, 3.0, 1.0):
        times = [load * each for each in range(1, 401)]
        looks.append(timed(latency(), times, times[::8]))
    assert judged(latency(), *looks).outcome is not Outcome.FAIL
    outage = [counted((950, 10), (50, 1)), counted((950, 475), (50, 25)), counted((950, 10), (50, 1))]
    assert judged(rate(), *outage).outcome is not Outcome.FAIL


def test_a_better_candidate_is_never_harm() -> None:
    """Rule 12: the test has one side."""
    assert judged(rate(), *[counted((950, 95), (50, 0))] * 9).outcome is Outcome.PASS
    assert judged(score(), averaged([0.5, 0.6] * 300, [0.8, 0.9] * 100)).outcome is Outcome.PASS


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="impossible"):
        Counts(total=3, bad=4)
