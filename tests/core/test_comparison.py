"""Margins: what is shown, what is proven harm, and what neither; nothing passes by being small, absent or odd."""

from __future__ import annotations

from collections.abc import Callable
from math import comb, inf, nan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.core.comparison import FEWEST_SCORES, Pairs, comparisons, fewest_pairs, pair
from rollout.core.evaluation import Measured, Rules, Side
from rollout.core.gatefile import Gate, Margin, OnInconclusive
from rollout.core.paired import bootstrap_interval, fewest_items, score_interval
from rollout.core.verdict import Outcome
from tests.support.measurements import (
    BAD,
    OK,
    WITHIN_FIVE_POINTS,
    concluded,
    measured,
    outcome,
    rules,
    verdict,
    with_scores,
)

SUBJECT = "champion/exact_match"
PERFECT = measured(lambda _: OK)
WORSE = measured(lambda number: BAD if number < 20 else OK)


def margin(metric: str, max_loss: float = 0.05, **changes: object) -> Rules:
    """Rules with nothing but one margin."""
    gate = Gate.model_validate({"vs_champion": {"max_loss": max_loss}})
    return rules(gates={metric: gate}, **changes)


# What is compared with whom.


def asked(by: Rules, opponent: Side = Side.CHAMPION) -> dict[str, float]:
    return {one.subject: one.margin.max_loss for one in comparisons(by, opponent)}


def test_where_no_gate_names_a_margin_right_answers_are_held_to_five_points() -> None:
    by = rules(gates={"rouge_l": Gate(min=0.1, vs_base=Margin(max_loss=0.2))})
    assert asked(by) == {"base/rouge_l": 0.2, "champion/success": 0.05}
    assert verdict("champion/success", WORSE, by).outcome is Outcome.FAIL


def test_a_margin_that_is_only_shown_does_not_take_the_place_of_the_default() -> None:
    by = rules(gates={"rouge_l": Gate(vs_champion=Margin(max_loss=0.4), required=False)})
    assert asked(by) == {"champion/rouge_l": 0.4, "champion/success": 0.05}
    assert outcome(concluded(WORSE, by)) is Outcome.FAIL
    shown = rules(gates={"success": Gate(vs_champion=Margin(max_loss=0.4), required=False)})
    (one,) = comparisons(shown, Side.CHAMPION)
    assert (one.margin.max_loss, one.required) == (0.05, True)


def test_a_margin_of_the_gate_file_takes_the_place_of_the_default() -> None:
    assert asked(rules()) == {SUBJECT: 0.05}


def test_champion_and_base_are_two_comparisons() -> None:
    gate = Gate(vs_champion=Margin(max_loss=0.05), vs_base=Margin(max_loss=0.01))
    by = rules(gates={"exact_match": gate})
    assert asked(by) == {SUBJECT: 0.05, "base/exact_match": 0.01}
    better_than_base = verdict("base/exact_match", WORSE, by)
    assert (better_than_base.outcome, round(better_than_base.effect or 0, 3)) == (Outcome.PASS, 0.833)
    assert verdict(SUBJECT, WORSE, by).outcome is Outcome.FAIL


def test_without_a_champion_the_stricter_of_both_margins_holds_against_the_base() -> None:
    gate = Gate(
        vs_champion=Margin(max_loss=0.05, confidence=0.9), vs_base=Margin(max_loss=0.01), required=False
    )
    one, default = comparisons(rules(gates={"exact_match": gate}), Side.BASE)
    assert default.metric == "success", "a margin that is only shown takes the place of no other"
    assert one.subject == "base/exact_match"
    assert one.margin == Margin(max_loss=0.01, confidence=0.95)
    assert not one.required
    other = Gate(vs_champion=Margin(max_loss=0.01), vs_base=Margin(max_loss=0.05, confidence=0.99))
    (one,) = comparisons(rules(gates={"exact_match": other}), Side.BASE)
    assert one.margin == Margin(max_loss=0.01, confidence=0.99)


def test_a_first_release_is_compared_with_the_base() -> None:
    found = measured(lambda _: OK, champion=None)
    assert found.opponent is Side.BASE
    assert verdict("base/exact_match", found).outcome is Outcome.PASS
    assert outcome(concluded(found)) is Outcome.PASS


def test_a_margin_that_is_not_required_is_shown_and_blocks_nothing() -> None:
    gate = Gate(vs_champion=Margin(max_loss=0.05), required=False)
    by = rules(gates={"rouge_l": gate, "exact_match": Gate(vs_champion=Margin(max_loss=0.9))})
    said = verdict("champion/rouge_l", measured(lambda n: BAD if n % 4 != 0 else OK), by)
    assert (said.outcome, said.required) == (Outcome.FAIL, False)


# The verdicts.


def test_an_equal_candidate_is_shown_to_be_no_worse() -> None:
    said = verdict(SUBJECT, PERFECT)
    assert said.outcome is Outcome.PASS
    assert said.reason == (
        "exact match, all fields 0.0 points (−2.2 to +2.2) on 120 items, margin 5.0 points: shown to be no worse"
    )
    assert said.samples == (120, 120)


def test_a_proven_loss_beyond_the_margin_fails() -> None:
    said = verdict(SUBJECT, WORSE)
    assert said.outcome is Outcome.FAIL
    assert said.effect == pytest.approx(-1 / 6)
    assert "proven worse (p 1e-06 after Holm) [i0, i1, i2, i3, i4 and 15 more]" in said.reason


def test_a_proven_loss_within_the_margin_is_no_failure() -> None:
    said = verdict(SUBJECT, WORSE, margin("exact_match", 0.3))
    assert said.outcome is Outcome.PASS


def test_the_confidence_of_a_margin_is_its_own() -> None:
    near = measured(lambda number: BAD if number < 1 else OK)
    loose, strict = (
        rules(gates={"exact_match": Gate(vs_champion=Margin(max_loss=0.05, confidence=confidence))})
        for confidence in (0.9, 0.999)
    )
    assert verdict(SUBJECT, near, loose).outcome is Outcome.PASS
    said = verdict(SUBJECT, near, strict)
    assert said.outcome is Outcome.INCONCLUSIVE
    assert said.interval is not None
    assert said.interval.confidence == pytest.approx(0.998)


def test_harm_must_be_proven_at_the_confidence_of_all_comparisons_together() -> None:
    # One p-value of 2^-5 is below 5 %, but not among four of the same kind.
    five = measured(lambda number: BAD if number < 5 else OK, n=60)
    alone = verdict(SUBJECT, five)
    assert (alone.outcome, "p 0.031 after Holm" in alone.reason) == (Outcome.FAIL, True)
    names = ("exact_match", "json_compliance", "success", "rouge_l")
    assert verdict(SUBJECT, five, rules(gates=dict.fromkeys(names, WITHIN_FIVE_POINTS))).outcome is (
        Outcome.INCONCLUSIVE
    )


def test_too_few_items_are_inconclusive_and_say_how_many_would_settle_it() -> None:
    said = verdict(SUBJECT, measured(lambda n: BAD if n == 0 else OK, n=60))
    assert (said.outcome, said.required) == (Outcome.INCONCLUSIVE, True)
    assert "60 items cannot exclude a loss beyond the margin; about 116 items like these would settle it" in (
        said.reason
    )


def test_a_sample_that_cannot_detect_its_margin_is_refused_with_the_size_it_needs() -> None:
    said = verdict(SUBJECT, measured(lambda _: OK, n=40))
    assert said.outcome is Outcome.INCONCLUSIVE
    assert said.reason.endswith("refused, 40 items cannot detect this margin; it needs 59 at least")
    assert verdict(SUBJECT, measured(lambda _: OK, n=59)).outcome is Outcome.PASS
    assert verdict(SUBJECT, measured(lambda _: OK, n=58)).outcome is Outcome.INCONCLUSIVE


def test_inconclusive_blocks_unless_the_policy_only_wants_a_warning() -> None:
    few = measured(lambda _: OK, n=40)
    assert outcome(concluded(few)) is Outcome.INCONCLUSIVE
    assert outcome(concluded(few, rules(on_inconclusive=OnInconclusive.WARN))) is Outcome.PASS


def test_a_warning_never_covers_a_proven_loss_nor_missing_data() -> None:
    warn = rules(on_inconclusive=OnInconclusive.WARN)
    assert outcome(concluded(WORSE, warn)) is Outcome.FAIL
    absent = margin("over_refusal_rate", on_inconclusive=OnInconclusive.WARN)
    assert outcome(concluded(PERFECT, absent)) is Outcome.NO_DATA


def test_lower_is_better_where_the_metric_says_so() -> None:
    cut = with_scores(
        PERFECT, lambda _, side, scores: scores.update(truncated_rate=float(side is Side.CANDIDATE))
    )
    said = verdict("champion/truncated_rate", cut, margin("truncated_rate"))
    assert (said.outcome, said.effect) == (Outcome.FAIL, 1.0)
    assert said.interval is not None
    assert said.interval.low > 0.9


def test_a_score_is_compared_by_bootstrap() -> None:
    found = measured(lambda number: BAD if number < 30 else OK)
    said = verdict("champion/rouge_l", found, margin("rouge_l"))
    assert said.outcome is Outcome.FAIL
    assert said.effect == pytest.approx(-0.125)


# The closed table: what is odd has its own outcome, and none of them is a pass.


def absent(number: int, side: Side, scores: dict[str, float]) -> None:
    del scores["exact_match"]


def only_of(sides: set[Side], among: range) -> object:
    def change(number: int, side: Side, scores: dict[str, float]) -> None:
        if number in among and side not in sides:
            del scores["exact_match"]

    return change


def value(of: float, among: range = range(1000)) -> object:
    def change(number: int, side: Side, scores: dict[str, float]) -> None:
        if number in among and side is Side.CANDIDATE:
            scores["exact_match"] = of

    return change


@pytest.mark.parametrize(
    ("change", "said", "reason"),
    [
        (absent, Outcome.NO_DATA, "not measured on both sides: no item of the suite applies"),
        (only_of({Side.CHAMPION, Side.BASE}, range(1000)), Outcome.NO_DATA, "on one side only for 120 items"),
        (only_of({Side.CANDIDATE}, range(1000)), Outcome.NO_DATA, "on one side only for 120 items"),
        (only_of({Side.CHAMPION}, range(3)), Outcome.NO_DATA, "on one side only for 3 items [i0, i1, i2]"),
        (only_of({Side.CANDIDATE}, range(1)), Outcome.NO_DATA, "on one side only for 1 items [i0]"),
        (value(nan), Outcome.ERROR, "exact match, all fields is not finite"),
        (value(nan, range(1)), Outcome.ERROR, "exact match, all fields is not finite"),
        (value(inf, range(1)), Outcome.ERROR, "exact match, all fields is not finite"),
        (value(-inf, range(1)), Outcome.ERROR, "exact match, all fields is not finite"),
    ],
)
def test_what_is_missing_or_no_number_has_an_outcome_of_its_own(
    change: object, said: Outcome, reason: str
) -> None:
    found = with_scores(PERFECT, change)  # type: ignore[arg-type]
    about = next(each for each in concluded_margins(found) if each.subject == SUBJECT)
    assert about.outcome is said
    assert reason in about.reason


def concluded_margins(found: Measured) -> list:  # type: ignore[type-arg]
    from rollout.core.comparison import judge_margins

    return judge_margins(found, rules())


def test_why_a_metric_is_missing_is_told() -> None:
    found = PERFECT.model_copy(update={"missing": {"similarity": "the package is not installed"}})
    said = verdict("champion/similarity", found, margin("similarity"))
    assert said.reason == ("semantic similarity was not measured on both sides: the package is not installed")


@pytest.mark.parametrize("n", [1, 2, FEWEST_SCORES - 1])
def test_scores_need_twenty_pairs_however_constant_they_are(n: int) -> None:
    said = verdict("champion/rouge_l", measured(lambda _: OK, n=n, slices=1), margin("rouge_l"))
    assert said.outcome is Outcome.INCONCLUSIVE
    assert f"{n} items are too few for an interval, 20 are the least" in said.reason


def test_constant_shares_of_repeats_need_as_many_items_as_yes_and_no() -> None:
    """Their bootstrap interval has no width, which says nothing about other items: it gets that of yes and no."""
    half = with_scores(measured(lambda _: OK, n=40), lambda _n, _s, scores: scores.update(exact_match=0.5))
    said = verdict(SUBJECT, half)
    assert said.interval is not None
    assert -said.interval.low == said.interval.high == pytest.approx(0.0634, abs=1e-4)
    assert said.outcome is Outcome.INCONCLUSIVE
    assert "refused, 40 items cannot detect this margin; it needs 59 at least" in said.reason


def test_items_of_one_cluster_count_as_one() -> None:
    found = PERFECT.model_copy(
        update={"cases": tuple(each.model_copy(update={"cluster": each.slice}) for each in PERFECT.cases)}
    )
    pairs = pair(found, "exact_match")
    assert (pairs.ids, pairs.binary) == (("cluster s0", "cluster s1", "cluster s2", "cluster s3"), False)
    said = verdict(SUBJECT, found)
    assert said.outcome is Outcome.INCONCLUSIVE
    assert "4 items are too few for an interval" in said.reason


def test_a_cluster_that_lost_every_item_is_one_loss() -> None:
    found = measured(lambda number: BAD if number < 20 else OK)
    cases = tuple(
        each.model_copy(update={"cluster": "one customer"}) if number < 20 else each
        for number, each in enumerate(found.cases)
    )
    clustered = found.model_copy(update={"cases": cases})
    pairs = pair(clustered, "exact_match")
    assert (len(pairs.gains), pairs.lost, pairs.losers) == (101, 1, ["cluster one customer"])
    assert verdict(SUBJECT, found).outcome is Outcome.FAIL
    assert verdict(SUBJECT, clustered).outcome is not Outcome.FAIL


# Properties.


@settings(max_examples=60, deadline=None)
@given(st.lists(st.booleans(), min_size=60, max_size=60))
def test_a_champion_never_fails_against_itself(right: list[bool]) -> None:
    same = measured(lambda n: float(right[n]), lambda n: float(right[n]), n=60)
    by = rules(gates={"json_compliance": Gate(min=0.0), "rouge_l": WITHIN_FIVE_POINTS})
    assert outcome(concluded(same, by)) is Outcome.PASS


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 120), st.integers(0, 30), st.sampled_from([0.01, 0.05, 0.2]))
def test_a_smaller_loss_is_never_judged_worse(lost: int, gained: int, max_loss: float) -> None:
    def judged(losses: int) -> int:
        found = measured(
            lambda n: BAD if n < losses else OK, lambda n: BAD if n >= 150 - gained else OK, n=150
        )
        return verdict(SUBJECT, found, margin("exact_match", max_loss)).outcome.severity

    assert judged(lost) <= judged(min(lost + 10, 120))


@settings(max_examples=80, deadline=None)
@given(st.floats(0.001, 0.999), st.sampled_from([0.6, 0.8, 0.9, 0.98]))
def test_the_fewest_items_are_the_edge_of_what_interval_and_chance_can_show(
    loss: float, confidence: float
) -> None:
    def shows(items: int) -> bool:
        unseen = (1 - loss) ** items  # how often a true loss shows in none of them
        return (
            score_interval(0, 0, items, confidence).low > -loss - 1e-9
            and unseen <= (1 - confidence) / 2 + 1e-9
        )

    fewest = fewest_items(loss, confidence)
    assert shows(fewest)
    assert fewest == 1 or not shows(fewest - 1)


def test_fewest_pairs_are_those_of_the_metric() -> None:
    assert fewest_pairs("exact_match", Margin(max_loss=0.05), 0.95) == 59
    assert fewest_pairs("exact_match", Margin(max_loss=0.03), 0.95) == 99
    assert fewest_pairs("exact_match", Margin(max_loss=0.03, confidence=0.99), 0.95) == 175
    assert fewest_pairs("rouge_l", Margin(max_loss=0.03), 0.95) == 99, "a score between 0 and 1 is no easier"
    assert fewest_pairs("rouge_l", Margin(max_loss=0.3), 0.95) == FEWEST_SCORES
    for name in ("perplexity", "nll", "completion_tokens"):
        assert fewest_pairs(name, Margin(max_loss=0.03), 0.95) == FEWEST_SCORES


# Scores: what a bootstrap cannot know.


def fallen(*numbers: int) -> Callable[[int], float]:
    return lambda number: BAD if number in numbers else OK


@pytest.mark.parametrize(("n", "max_loss"), [(20, 0.03), (60, 0.02), (60, 0.01), (98, 0.03)])
def test_a_score_that_fell_nowhere_in_a_small_sample_is_not_shown_to_fall_nowhere(
    n: int, max_loss: float
) -> None:
    said = verdict("champion/rouge_l", measured(fallen(), n=n, slices=1), margin("rouge_l", max_loss))
    assert said.outcome is Outcome.INCONCLUSIVE
    assert f"{n} items cannot detect this margin" in said.reason


def test_a_score_margin_passes_a_rare_loss_as_large_as_itself_in_one_run_of_twenty() -> None:
    """Items fall from 1 to 0 as often as the margin allows: every sample that passes is a false pass."""
    for n, max_loss in ((99, 0.03), (114, 0.03), (299, 0.01), (60, 0.05), (120, 0.05)):
        false = 0.0
        for lost in range(12):
            pairs = Pairs(
                name="similarity",
                ids=tuple(map(str, range(n))),
                gains=(-1.0,) * lost + (0.0,) * (n - lost),
                sizes=(1,) * n,
                binary=False,
            )
            if pairs.interval(0.9, 7).low > -max_loss:
                false += comb(n, lost) * max_loss**lost * (1 - max_loss) ** (n - lost)
        assert false <= 0.055, (n, max_loss)


def test_an_unbounded_metric_that_changed_alike_everywhere_needs_many_items() -> None:
    def said(n: int) -> tuple[Outcome, str]:
        found = with_scores(measured(fallen(), n=n), lambda _n, _s, scores: scores.update(nll=1.0))
        about = verdict("champion/nll", found, margin("nll"))
        return about.outcome, about.reason

    outcome_, reason = said(58)
    assert outcome_ is Outcome.INCONCLUSIVE
    assert reason.endswith("58 items that all changed alike say nothing of others, 59 would")
    assert said(59)[0] is Outcome.PASS


# Clusters.


def in_cluster(found: Measured, size: int) -> Measured:
    """The first so many items in one cluster, each of the others in its own."""
    cases = tuple(
        each.model_copy(update={"cluster": "big" if number < size else f"c{number}"})
        for number, each in enumerate(found.cases)
    )
    return found.model_copy(update={"cases": cases})


def test_a_large_cluster_that_is_lost_counts_with_all_its_items() -> None:
    found = in_cluster(measured(lambda number: BAD if number < 100 else OK, n=299), 100)
    said = verdict(SUBJECT, found)
    assert said.effect == pytest.approx(-100 / 299), "the mean over clusters would be half a point"
    assert said.outcome is Outcome.INCONCLUSIVE
    assert "on 299 items in 200 clusters" in said.reason
    assert "clusters worth 8 items are too few" in said.reason


def test_clusters_of_equal_size_count_as_so_many_items() -> None:
    found = measured(fallen(), n=240)
    cases = tuple(each.model_copy(update={"cluster": f"c{n // 2}"}) for n, each in enumerate(found.cases))
    pairs = pair(found.model_copy(update={"cases": cases}), "exact_match")
    assert (pairs.items, pairs.independent) == (240, 120)
    assert verdict(SUBJECT, found.model_copy(update={"cases": cases})).outcome is Outcome.PASS


def test_a_loss_in_many_clusters_is_proven() -> None:
    found = measured(lambda number: BAD if number % 8 < 2 else OK, n=240)
    cases = tuple(each.model_copy(update={"cluster": f"c{n // 2}"}) for n, each in enumerate(found.cases))
    said = verdict(SUBJECT, found.model_copy(update={"cases": cases}))
    assert (said.outcome, said.effect) == (Outcome.FAIL, -0.25)


def test_the_interval_of_clusters_is_that_of_items_where_every_cluster_is_one() -> None:
    gains = [((number * 37) % 11) / 50 - 0.1 for number in range(120)]
    assert bootstrap_interval(gains, 0.9, 7, [1] * 120) == bootstrap_interval(gains, 0.9, 7)
