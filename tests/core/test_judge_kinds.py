"""Each kind of metric is judged for harm and for no worse, and says so in a sentence that a person understands."""

from __future__ import annotations

from dataclasses import replace
from math import log

import numpy as np
import pytest

from rollout.core.alike import alike, moments_by_unit
from rollout.core.judge import Evidence, judge, observe
from rollout.core.metric import Alike, Clusters, MetricSpec, Requirement, Samples, Stage
from rollout.core.verdict import Outcome
from tests.core.judging import NOON, averaged, counted, judged, latency, paired, rate, score, seen, timed

DRAWS = np.random.default_rng(23)
_BEGINNING = DRAWS.bit_generator.state


@pytest.fixture(autouse=True)
def _the_same_draws_for_every_test() -> None:
    DRAWS.bit_generator.state = _BEGINNING


def times(scale: float, number: int) -> list[float]:
    return [float(each) for each in DRAWS.lognormal(6, 0.6, number) * scale]


def slow_looks(spec: MetricSpec, scale: float, number: int) -> list[Samples]:
    return [timed(spec, times(1, 950), times(scale, 50)) for _ in range(number)]


def test_a_slower_candidate_is_harm_with_both_times_in_the_sentence() -> None:
    verdict = judged(latency(), *slow_looks(latency(), 1.6, 4))
    assert verdict.outcome is Outcome.FAIL
    assert verdict.reason.startswith("worse: P50 ")
    assert " ms in the candidate, " in verdict.reason
    assert verdict.reason.endswith("against no worse (limit 100 : 1)" + UNKNOWN)
    assert verdict.effect == pytest.approx(0.6, abs=0.3)
    assert verdict.interval is not None
    assert verdict.interval.low < 0.6 < verdict.interval.high


def test_a_slower_tail_alone_is_harm_and_never_proven_no_worse() -> None:
    """An average over quantiles would let a good median buy a bad tail."""
    spec = latency()
    looks = []
    for _ in range(12):
        own = np.array(times(1, 50))
        looks.append(timed(spec, times(1, 950), np.where(own > 870, own * 1.6, own).tolist()))
    verdict = judged(spec, *looks, alpha=1e-12)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "P95 at most 1.2 times stable's" in verdict.reason
    assert judged(spec, *looks).outcome is Outcome.FAIL


def test_an_equal_candidate_is_proven_as_quick_within_a_few_looks() -> None:
    verdict = judged(latency(), *slow_looks(latency(), 1.0, 25))
    assert verdict.outcome is Outcome.PASS
    assert verdict.reason.startswith("P")
    assert "at most 1.2 times stable's" in verdict.reason
    assert "(20 : 1 is enough)" in verdict.reason


def test_a_tolerated_ratio_is_not_called_harm() -> None:
    spec = latency(tolerance=1.3, max_ratio=1.5)
    assert judged(spec, *slow_looks(spec, 1.2, 30)).outcome is not Outcome.FAIL


def test_lengths_of_answers_are_strata_of_their_own() -> None:
    """A chattier adapter is slower over all and as quick at each length: that is no harm."""
    spec = latency(by_length=True)
    short, long = [100.0 + each for each in range(60)], [1000.0 + each for each in range(60)]
    looks = []
    for _ in range(8):
        theirs = timed(spec, short, short[:12])
        own = timed(spec, long[:12], long[:60])
        looks.append(counted((72, 0), (72, 0), marks=(*theirs.marks, *own.marks)))
        assert judged(spec, *looks).outcome is not Outcome.FAIL
    pooled = [timed(spec, short + long[:12], short[:12] + long) for _ in range(8)]
    assert judged(spec, *pooled).outcome is Outcome.FAIL


def test_odds_prove_what_a_margin_of_rates_cannot() -> None:
    looks = [counted((3800, 38), (200, 2))] * 12
    assert judged(rate(max_abs=0.005), *looks).outcome is Outcome.INCONCLUSIVE
    verdict = judged(rate(max_abs=0.005, max_odds=2), *looks)
    assert verdict.outcome is Outcome.PASS
    assert "no worse by more than 0.50% or at odds of at most 2 times stable's" in verdict.reason


def test_a_margin_proves_what_odds_cannot_where_nothing_fails() -> None:
    """F6: two failure-free arms promote, though no ratio can be told of nothing."""
    looks = [counted((950, 0), (50, 0))] * 12
    by_odds = judged(rate(max_odds=2), *looks)
    assert (by_odds.outcome, by_odds.projected) == (Outcome.INCONCLUSIVE, None)
    assert "odds say nothing where nothing is bad: `max_abs` would" in by_odds.reason
    verdict = judged(rate(max_abs=0.02, max_odds=2), *looks)
    assert verdict.outcome is Outcome.PASS
    assert "0/600 (0.0%) in the candidate" in verdict.reason


def test_both_ways_to_prove_share_one_alpha() -> None:
    """Half of the evidence is each one's, so that a proof by either is twice as strong as one that stands alone."""
    spec = rate(max_abs=0.02, max_odds=2)
    looks = [counted((950, 0), (50, 0))] * 8
    alone, both = judged(rate(max_abs=0.02), *looks), judged(spec, *looks)
    assert alone.proof is not None
    assert both.proof is not None
    assert both.proof == pytest.approx((alone.proof + 1) / 2), "the odds say nothing: their e-value is 1"


def test_a_rate_that_is_better_when_higher_is_judged_by_what_it_lacks() -> None:
    spec = rate(
        id="conversions",
        event=None,
        direction="higher_is_better",
        source={"provider": "shop", "ask": "/conversions"},
        max_abs=0.1,
    )
    verdict = judged(spec, *[counted((500, 400), (100, 40))] * 3)
    assert verdict.outcome is Outcome.FAIL
    assert "120/300 (40.0%) in the candidate, 1,200/1,500 (80.0%) in stable" in verdict.reason
    assert verdict.effect == pytest.approx(-0.4)
    assert verdict.interval is not None
    assert verdict.interval.low < -0.4 < verdict.interval.high < 0
    assert judged(spec, *[counted((500, 400), (100, 80))] * 6).outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("loss", "outcome"), [(0.25, Outcome.FAIL), (0.0, Outcome.PASS), (-0.2, Outcome.PASS)]
)
def test_pairs_of_scores_show_a_loss_and_prove_that_there_is_none(loss: float, outcome: Outcome) -> None:
    pairs = np.clip(DRAWS.normal(-loss, 0.15, 500), -1, 1).tolist()
    verdict = judged(score(), paired(*pairs), stage=Stage.SHADOW)
    assert verdict.outcome is outcome
    assert "over 500 pairs" in verdict.reason
    assert verdict.effect == pytest.approx(-loss, abs=0.05)


@pytest.mark.parametrize(("mean", "outcome"), [(0.5, Outcome.FAIL), (0.7, Outcome.PASS)])
def test_means_of_scores_are_compared_where_nobody_paired_them(mean: float, outcome: Outcome) -> None:
    def arm(middle: float, number: int) -> list[float]:
        return [float(each) for each in np.clip(DRAWS.normal(middle, 0.2, number), 0, 1)]

    looks = [averaged(arm(0.7, 300), arm(mean, 100)) for _ in range(6)]
    verdict = judged(score(), *looks)
    assert verdict.outcome is outcome
    assert "on average of 600 against 1,800" in verdict.reason
    assert verdict.effect == pytest.approx(mean - 0.7, abs=0.05)


def test_means_of_few_scores_are_no_evidence_at_all() -> None:
    """Under 100 values of an arm nothing says that a mean is nearly normal."""
    verdict = judged(score(), averaged([1.0] * 500, [0.0] * 99))
    assert (verdict.outcome, verdict.e_value, verdict.proof) == (Outcome.INCONCLUSIVE, 1.0, 1.0)


def test_a_shift_of_both_means_between_looks_is_nobodys_harm() -> None:
    """A hard hour with much of the candidate's traffic is not the candidate's: each look is a stratum."""
    looks = [
        averaged([0.9] * 900 + [0.8] * 100, [0.9] * 90 + [0.8] * 10),
        averaged([0.4] * 500 + [0.3] * 500, [0.4] * 500 + [0.3] * 500),
    ]
    verdict = judged(score(), *looks * 3)
    assert verdict.outcome is Outcome.PASS
    assert "as high as stable's" in verdict.reason


def test_declared_dependence_divides_the_evidence_and_is_told() -> None:
    looks = [counted((950, 10), (50, 8))] * 2
    free, bound = judged(rate(), *looks), judged(rate(design_effect=5), *looks)
    assert free.e_value is not None
    assert bound.e_value == pytest.approx(free.e_value ** (1 / 5))
    assert free.outcome is Outcome.FAIL
    assert bound.outcome is not Outcome.FAIL
    assert judged(rate(design_effect=5), *looks * 10).reason.endswith(
        "; 5 requests count as one, as declared"
    )
    assert "count" not in judged(rate(design_effect=1), *looks * 10).reason


def test_the_sentence_says_what_is_assumed_of_heaps_and_from_when_on_it_is_measured() -> None:
    assumed = judged(rate(), *[counted((950, 0), (50, 0), clusters=(heaps(0), NO_HEAPS))] * 2)
    assert assumed.reason.endswith(
        "; 1.5 requests count as one, as assumed until 5 bad ones of stable are seen"
    )
    few = judged(rate(), counted((950, 4), (50, 0), clusters=(heaps(4), NO_HEAPS)))
    assert few.reason.endswith("; 1.3 requests count as one, as assumed until 5 bad ones of stable are seen")
    own = counted((950, 0), (50, 9), clusters=(heaps(0), Clusters(total=50, bad=9, others=72, alike=72)))
    assert judged(rate(), own).reason.endswith(" as measured on 9 bad ones of the candidate")


def test_that_nobody_knows_whose_requests_are_is_told_at_100_percent_too() -> None:
    spec = rate(max_rate=0.1)
    for known in (None, (heaps(0), Clusters(total=50, bad=0))):
        evidence = observe(Evidence(), spec, counted((950, 0), (500, 0), clusters=known), now=NOON)
        verdict = judge(spec, evidence, stage=Stage.BAKE, alpha=0.01, alpha_advance=0.05, now=NOON)
        assert verdict.reason.endswith(UNKNOWN) is (known is None), verdict.reason


def test_slow_ones_of_few_users_say_less_and_each_quantile_has_heaps_of_its_own() -> None:
    """Of all quantiles the largest heaps count; a step's end forgets none of them."""
    spec = latency()
    looks = slow_looks(spec, 1.6, 4)
    single, many = heaps(100, total=950), heaps(50, total=950, alike=200, others=200)
    quick = Clusters(total=50, bad=0)
    known = [replace(look, slow={"P50": (single, quick), "P95": (many, quick)}) for look in looks]
    free, bound = judged(spec, *looks), judged(spec, *known)
    assert free.e_value is not None
    assert bound.e_value is not None
    effect = log(free.e_value) / log(bound.e_value)
    assert effect == pytest.approx(4.9, abs=0.1)
    assert bound.reason.endswith("; 4.9 requests count as one, as measured on 200 slow ones of stable")
    assert free.reason.endswith(UNKNOWN)
    carried = seen(spec, *known).carried_into_next_step()
    assert [each.units for each in carried.quantiles] == [each.units for each in seen(spec, *known).quantiles]
    assert carried.quantiles[1].units is not None
    assert carried.quantiles[1].units[0].bad == 200


def alike_by(users: int, each: int, mean: float = 0.6, *, own: bool) -> Alike:
    """So many scores of each of so many users, who differ by 0.2 from the mean; all of a user's do if they are `own`."""
    scores = [
        (f"{user}", mean + 0.2 * (-1) ** (user if own else user + place))
        for user in range(users)
        for place in range(each)
    ]
    return alike(moments_by_unit(scores))


def test_scores_of_users_are_divided_by_how_like_each_other_they_are_and_the_sentence_says_it() -> None:
    look = averaged([0.4, 0.8] * 300, [0.3, 0.7] * 100)
    stable, candidate = alike_by(120, 5, own=True), alike_by(40, 5, own=False)
    free = judged(score(), look)
    assert free.reason.endswith("; each score counts by itself, for nothing is known of its user")
    bound = judged(score(), replace(look, alike=(stable, candidate)))
    assert bound.reason.endswith("; 5 scores count as one, as measured on 120 users of stable")
    assert free.e_value is not None
    assert bound.e_value == pytest.approx(free.e_value ** (1 / 5), rel=1e-2)
    assert bound.interval is not None
    assert free.interval is not None
    assert bound.interval.low < free.interval.low < free.interval.high < bound.interval.high
    other = judged(score(), replace(look, alike=(candidate, alike_by(40, 5, own=True))))
    assert other.reason.endswith("; 5 scores count as one, as measured on 40 users of the candidate")
    alone = judged(score(), replace(look, alike=(candidate, candidate)))
    assert alone.e_value == free.e_value, "whoever scores now high, now low says something new each time"
    assert "count" not in alone.reason
    few = judged(score(), replace(look, alike=(stable, alike_by(4, 1, own=True))))
    assert few.reason.endswith("120 users of stable")
    said = judged(score(design_effect=2), replace(look, alike=(stable, stable)))
    assert said.reason.endswith("; 2 scores count as one, as declared")


def test_pairs_whose_differences_are_the_users_own_count_by_users() -> None:
    look = paired(*[-0.2, 0.1] * 30)
    bound = judged(score(), replace(look, alike=(alike_by(12, 5, -0.05, own=True),)), stage=Stage.SHADOW)
    assert bound.reason.endswith("; 5 scores count as one, as measured on 12 users")
    heavy = judged(score(), replace(look, alike=(alike_by(4, 5, -0.05, own=True),)), stage=Stage.SHADOW)
    assert heavy.reason.endswith("; 5 scores count as one, as measured on 4 users")
    few = judged(score(), replace(look, alike=(alike_by(4, 1, -0.05, own=True),)), stage=Stage.SHADOW)
    assert few.reason.endswith("; 1.5 scores count as one, as assumed until 5 users are seen")


def test_how_like_scores_are_is_kept_over_steps_and_evidence_of_before_is_read_as_it_was() -> None:
    """What an older version wrote knows nothing of users, and is written again without a byte more."""
    spec = score()
    for look, told in (
        (averaged([0.4, 0.8] * 300, [0.3, 0.7] * 100), (alike_by(9, 5, own=True),) * 2),
        (paired(*[-0.2, 0.1] * 30), (alike_by(9, 5, own=True),)),
    ):
        old = seen(spec, look)
        assert "alike" not in old.model_dump_json()
        again = Evidence.model_validate_json(old.model_dump_json())
        assert again == old
        later = observe(again, spec, replace(look, alike=told), now=NOON)
        assert Evidence.model_validate_json(later.model_dump_json()) == later
        kept = later.carried_into_next_step()
        of, before = kept.paired or kept.unpaired, later.paired or later.unpaired
        assert of is not None
        assert before is not None
        assert of.alike == before.alike != ()


def heaps(bad: int, *, alike: int = 0, total: int = 950, others: int | None = None) -> Clusters:
    return Clusters(total=total, bad=bad, others=alike if others is None else others, alike=alike)


NO_HEAPS = Clusters(total=50, bad=0)
UNKNOWN = "; each request counts by itself, for nothing is known of its user"


def test_dependence_is_estimated_from_heaps_and_never_below_one() -> None:
    heaped = [counted((950, 30), (50, 8), clusters=(heaps(30, alike=120), NO_HEAPS))] * 4
    single = [counted((950, 30), (50, 8), clusters=(heaps(30), NO_HEAPS))] * 4
    free, few, many = (
        judged(rate(), *[counted((950, 30), (50, 8))] * 4),
        judged(rate(), *single),
        judged(rate(), *heaped),
    )
    assert free.e_value is not None
    assert few.e_value is not None
    assert many.e_value is not None
    assert free.e_value > few.e_value > many.e_value
    assert many.reason.endswith("; 4.9 requests count as one, as measured on 120 bad ones of stable")
    assert few.reason.endswith("(limit 100 : 1)"), "one bad request of a user is no heap, and nothing is said"
    assert free.reason.endswith(UNKNOWN)


def test_units_that_ask_often_and_fail_by_chance_alone_are_no_heaps() -> None:
    """One in a hundred of the other requests of whoever failed is bad too: as many as of all."""
    chance = judged(
        rate(), *[counted((950, 10), (50, 3), clusters=(heaps(10, others=9500, alike=100), NO_HEAPS))] * 9
    )
    alone = judged(rate(), *[counted((950, 10), (50, 3), clusters=(heaps(10), NO_HEAPS))] * 9)
    assert chance.e_value is not None
    assert alone.e_value is not None
    assert chance.e_value == pytest.approx(alone.e_value, rel=0.02)


def test_one_unit_that_fails_in_each_look_is_no_harm_though_it_is_the_candidates() -> None:
    """Of twenty candidates one would have it in its arm: at whatever look, it is one unit."""
    spec, evidence = rate(max_abs=0.02), Evidence()
    for number in range(288):
        clusters = (heaps(0), Clusters(total=50, bad=1, others=2 * number, alike=2 * number))
        evidence = observe(evidence, spec, counted((950, 0), (50, 1), clusters=clusters), now=NOON)
        verdict = judge(spec, evidence, stage=Stage.CANARY, alpha=0.01, alpha_advance=0.05, now=NOON)
        assert verdict.outcome is not Outcome.FAIL
    assert judged(rate(max_abs=0.02), *[counted((950, 0), (50, 1))] * 288).outcome is Outcome.FAIL


def test_a_candidate_that_fails_everybody_is_harm_at_once_though_few_ask() -> None:
    """What all of its units have in common is no heap of one of them."""
    own = Clusters(total=50, bad=50, others=50 * 24, alike=50 * 24)
    assert judged(rate(), counted((950, 9), (50, 50), clusters=(heaps(9), own))).outcome is Outcome.FAIL


def test_few_heaps_are_taken_to_be_larger_than_they_look() -> None:
    """Conservative with little data: one bad request alone does not prove that they come alone."""
    known = judged(rate(), counted((950, 1), (50, 8), clusters=(heaps(1), NO_HEAPS)))
    free = judged(rate(), counted((950, 1), (50, 8)))
    assert known.e_value is not None
    assert free.e_value is not None
    assert known.e_value < free.e_value**0.8


def test_no_harm_passes_where_no_worse_is_not_yet_proven() -> None:
    looks = [counted((950, 10), (60, 1))]
    verdict = judged(rate(), *looks, requires=Requirement.NO_HARM)
    assert verdict.outcome is Outcome.PASS
    assert verdict.reason.startswith("no harm shown: 1/60 (1.7%) in the candidate")
    assert judged(rate(), *looks).outcome is Outcome.INCONCLUSIVE


def test_no_harm_asks_for_samples_of_both_arms_and_for_no_harm() -> None:
    short = judged(rate(), counted((950, 10), (49, 0)), requires=Requirement.NO_HARM)
    assert (short.outcome, short.reason) == (Outcome.INCONCLUSIVE, "49 of 50 samples so far")
    assert short.projected == 50
    harm = judged(rate(), *[counted((950, 10), (60, 12))] * 3, requires=Requirement.NO_HARM)
    assert harm.outcome is Outcome.FAIL


def test_a_projection_is_near_what_it_takes_and_absent_where_nothing_grows() -> None:
    """Failure-free arms at a margin of 2 points: the requests that the proof will really take are known."""
    spec, look = rate(), counted((950, 0), (50, 0))
    taken = next(number for number in range(1, 50) if judged(spec, *[look] * number).outcome is Outcome.PASS)
    early = judged(spec, *[look] * (taken // 2))
    assert early.projected == pytest.approx(50 * taken, rel=0.3)
    worse = judged(spec, counted((950, 10), (50, 3)), alpha=1e-9)
    assert worse.projected is None or worse.projected > 50
    assert judged(spec, *[look] * taken).projected is None


def test_at_the_whole_share_a_latency_keeps_its_limit_at_the_largest_quantile() -> None:
    spec = latency(max_ms=2000)
    kept = judged(spec, counted((0, 0), (4000, 80)), stage=Stage.BAKE)
    assert kept.outcome is Outcome.PASS
    assert kept.reason.startswith("80/4,000 (2.0%) longer than 2,000 ms, at most 3.")
    broken = judged(spec, counted((0, 0), (4000, 400)), stage=Stage.BAKE)
    assert broken.outcome is Outcome.FAIL
    assert broken.reason == "400/4,000 (10.0%) longer than 2,000 ms is above the limit of 5.0%" + UNKNOWN


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        (latency(), "has no `max_ms`"),
        (score(), "a score has no absolute limit"),
        (rate(), "has no `max_rate`"),
    ],
    ids=["latency", "score", "rate"],
)
def test_what_has_no_absolute_limit_is_not_required_at_the_whole_share(spec: MetricSpec, why: str) -> None:
    verdict = judged(spec, counted((0, 0), (500, 0)), stage=Stage.BAKE)
    assert (verdict.outcome, verdict.required) == (Outcome.INCONCLUSIVE, False)
    assert why in verdict.reason


def test_evidence_of_no_worse_begins_anew_with_each_step_and_that_of_harm_goes_on() -> None:
    """Rates, times and scores: what was proven at 5 % says nothing of 50 %, and harm that grows is not forgotten."""
    cases = [
        (rate(max_odds=2), counted((950, 10), (50, 2))),
        (latency(), timed(latency(), times(1, 950), times(1.3, 50))),
        (score(), paired(*[-0.1, 0.05] * 60)),
        (score(), averaged([0.6, 0.8] * 300, [0.55, 0.75] * 60)),
    ]
    for spec, look in cases:
        before = seen(spec, look, look)
        after = observe(before.carried_into_next_step(), spec, look, now=NOON)
        alone = judged(spec, look)
        went_on = judge(spec, after, stage=Stage.CANARY, alpha=0.01, alpha_advance=0.05)
        assert went_on.proof == pytest.approx(alone.proof)
        whole = judged(spec, look, look, look).e_value
        assert went_on.e_value is not None
        assert whole is not None
        # What was staked for the new step earns from there on only: a little less, or more, than without it.
        assert went_on.e_value == pytest.approx(whole, rel=0.2)
        assert went_on.samples == alone.samples


def test_a_step_just_begun_has_nothing_to_compare() -> None:
    for spec, look in ((rate(), counted((950, 10), (50, 2))), (score(), averaged([0.5] * 900, [0.5] * 200))):
        carried = seen(spec, look).carried_into_next_step()
        verdict = judge(spec, carried, stage=Stage.CANARY, alpha=0.01, alpha_advance=0.05)
        assert (verdict.outcome, verdict.reason) == (Outcome.NO_DATA, "no requests of either arm yet")
    new = Evidence().carried_into_next_step()
    assert (new.steps, judge(rate(), new, stage=Stage.CANARY, alpha=0.01, alpha_advance=0.05).e_value) == (
        1,
        None,
    )


def test_whoever_turns_a_release_down_and_up_again_at_100_percent_gets_no_second_alpha() -> None:
    """Its times there are one test: each by itself would be another chance of a false alarm."""
    spec = rate(max_rate=0.05)
    part = counted((0, 0), (400, 34))
    asked = {"stage": Stage.BAKE, "alpha": 0.01, "alpha_advance": 0.05}
    once = seen(spec, part)
    assert judge(spec, once, **asked).outcome is Outcome.INCONCLUSIVE
    resumed = once
    for _ in range(2):
        resumed = observe(resumed.carried_into_next_step(alone=True).carried_into_next_step(), spec, part)
    verdict = judge(spec, resumed, **asked)
    assert verdict.outcome is Outcome.FAIL
    assert verdict.reason == "102/1,200 (8.5%) in all times at 100 % is above the limit of 5.0%" + UNKNOWN
    calm = observe(once.carried_into_next_step(), spec, counted((0, 0), (9000, 90)))
    assert judge(spec, calm, **asked).outcome is Outcome.PASS, "proof is of this time alone"
