"""The gate as a whole: limits, samples, odd measurements, and that the same facts give the same bytes."""

from __future__ import annotations

import json
from math import inf, nan
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from rollout.core.evaluation import (
    Agreement,
    EvalReport,
    Measured,
    Quality,
    Repeat,
    ShardTimings,
    Side,
    Subject,
    Timing,
)
from rollout.core.gate import conclude_quality, conclude_speed, is_tampered, judged_again, metric_rows
from rollout.core.gatefile import Gate, SliceLimits
from rollout.core.verdict import Outcome, Verdict
from tests.support.measurements import (
    BAD,
    OK,
    WITHIN_FIVE_POINTS,
    concluded,
    failures,
    measured,
    outcome,
    rules,
    scores_of,
    subject,
    verdict,
    with_scores,
)
from tests.support.reports import sample_report

PERFECT = measured(lambda _: OK)


def limits(**gates: Gate) -> Any:
    """Rules with these limits beside the usual margin."""
    return rules(gates={"exact_match": WITHIN_FIVE_POINTS, **gates})


def test_an_equal_candidate_passes_and_every_required_verdict_says_so() -> None:
    quality = concluded(PERFECT)
    assert outcome(quality) is Outcome.PASS
    said = {each.subject for each in quality.verdicts if each.required}
    assert said == {
        "finite", "effect", "effect/champion", "gate/json_compliance", "champion/exact_match", "slices",
    }  # fmt: skip


# Limits.


def test_a_failed_limit_names_value_n_interval_limit_and_items() -> None:
    said = verdict(
        "gate/json_compliance",
        measured(lambda number: BAD if number < 4 else OK),
        limits(json_compliance=Gate(min=0.98)),
    )
    assert (said.outcome, said.effect, said.samples) == (Outcome.FAIL, pytest.approx(116 / 120), (0, 120))
    assert said.reason == (
        "valid JSON: 96.7% of 120 (90% interval 92.8% to 98.5%), below the minimum of 98.0% [i0, i1, i2, i3]"
    )


def test_a_maximum_is_a_limit_too() -> None:
    longer = with_scores(
        PERFECT, lambda n, side, scores: scores.update(over_refusal_rate=float(n < 3 and side == "candidate"))
    )
    said = verdict("gate/over_refusal_rate", longer, limits(over_refusal_rate=Gate(max=0.02)))
    assert said.outcome is Outcome.FAIL
    assert said.reason.endswith("above the maximum of 2.0% [i0, i1, i2]")


def test_a_value_on_the_limit_passes() -> None:
    found = measured(lambda number: BAD if number < 6 else OK)
    assert verdict("gate/json_compliance", found, limits(json_compliance=Gate(min=0.95))).outcome is (
        Outcome.PASS
    )


def test_a_limit_that_is_not_required_blocks_nothing() -> None:
    by = limits(json_compliance=Gate(min=1.0, required=False))
    found = measured(lambda number: BAD if number == 5 else OK)
    said = verdict("gate/json_compliance", found, by)
    assert (said.outcome, said.required) == (Outcome.FAIL, False)
    assert outcome(concluded(found, by)) is Outcome.PASS


def test_the_worst_items_of_a_score_are_named() -> None:
    found = measured(lambda number: BAD if number in (17, 40) else OK)
    said = verdict("gate/rouge_l", found, limits(rouge_l=Gate(min=0.995)))
    assert said.outcome is Outcome.FAIL
    assert "[i17, i40, " in said.reason


def test_a_limit_on_what_no_item_measures_is_no_data_and_blocks() -> None:
    by = limits(refusal_rate=Gate(min=0.9))
    said = verdict("gate/refusal_rate", PERFECT, by)
    assert said.outcome is Outcome.NO_DATA
    assert said.reason.endswith("was not measured: no item of the suite applies")
    assert outcome(concluded(PERFECT, by)) is Outcome.NO_DATA


def drop(name: str, side: Side, among: range) -> Any:
    def change(number: int, of: Side, scores: dict[str, float]) -> None:
        if of is side and number in among:
            del scores[name]

    return change


def test_a_mean_over_the_answers_that_were_not_lost_is_no_data() -> None:
    """The ones without a value are those that nobody could score: mostly the bad ones."""
    partly = with_scores(PERFECT, drop("json_compliance", Side.CANDIDATE, range(2)))
    said = verdict("gate/json_compliance", partly)
    assert said.outcome is Outcome.NO_DATA
    assert said.reason == "valid JSON was not measured for 2 answers of the candidate [i0, i1]"


def test_a_value_that_the_champion_lacks_does_not_touch_a_limit() -> None:
    partly = with_scores(PERFECT, drop("json_compliance", Side.CHAMPION, range(2)))
    assert verdict("gate/json_compliance", partly).outcome is Outcome.PASS


@pytest.mark.parametrize("value", [nan, inf, -inf])
def test_a_mean_that_is_no_number_is_an_error(value: float) -> None:
    def change(number: int, side: Side, scores: dict[str, float]) -> None:
        if number == 0 and side is Side.CANDIDATE:
            scores["rouge_l"] = value

    from rollout.core.gate import judge_limits

    said = judge_limits(with_scores(PERFECT, change), "rouge_l", Gate(min=0.0), rules())
    assert (said.outcome, said.reason) == (Outcome.ERROR, "ROUGE-L is not a finite number")


@pytest.mark.parametrize("value", [nan, inf, -inf])
def test_a_report_has_no_place_for_what_is_no_number(value: float) -> None:
    with pytest.raises(ValidationError, match="finite"):
        type(PERFECT.cases[0]).model_validate(
            {**PERFECT.cases[0].model_dump(), "scores": {"candidate": {"rouge_l": value}}}
        )


# A part of the suite.


def sample(right: Any, *, of: int = 400, **changes: Any) -> Measured:
    return measured(right, planned=of, **changes)


def test_a_limit_needs_proof_where_only_a_part_was_asked() -> None:
    by = limits(json_compliance=Gate(min=0.95))
    whole, part = measured(lambda _: OK, n=40), sample(lambda _: OK, n=40)
    assert verdict("gate/json_compliance", whole, by).outcome is Outcome.PASS
    said = verdict("gate/json_compliance", part, by)
    assert said.outcome is Outcome.INCONCLUSIVE
    assert said.reason.endswith("a part of the suite that does not show the limit")
    assert verdict("gate/json_compliance", sample(lambda _: OK, n=120), by).outcome is Outcome.PASS


def test_a_limit_in_slices_needs_proof_where_only_a_part_was_asked() -> None:
    by = limits(json_compliance=Gate(slices=SliceLimits(min=0.8)))
    assert verdict("slices/json_compliance", measured(lambda _: OK, n=40), by).outcome is Outcome.PASS
    said = verdict("slices/json_compliance", sample(lambda _: OK, n=40), by)
    assert said.outcome is Outcome.INCONCLUSIVE
    assert said.reason.endswith("does not show the limit in s0, s1, s2, s3")
    assert verdict("slices/json_compliance", sample(lambda _: OK, n=120), by).outcome is Outcome.PASS


def test_a_part_of_the_suite_can_fail_an_adapter_and_never_pass_it() -> None:
    quality = concluded(sample(lambda _: OK))
    cases = next(each for each in quality.verdicts if each.subject == "cases")
    assert (cases.outcome, cases.required) == (Outcome.INCONCLUSIVE, True)
    assert cases.reason.startswith("120 of 400 items were asked: a part of the suite can fail an adapter")
    assert outcome(quality) is Outcome.INCONCLUSIVE
    assert outcome(concluded(sample(lambda number: BAD if number < 20 else OK))) is Outcome.FAIL


def test_a_slice_that_nobody_asked_blocks() -> None:
    quality = concluded(sample(lambda _: OK, unasked=("s9",)))
    cases = next(each for each in quality.verdicts if each.subject == "cases")
    assert (cases.outcome, cases.required) == (Outcome.NO_DATA, True)
    assert cases.reason.endswith("nothing was asked of s9")


def test_a_whole_suite_is_no_part() -> None:
    assert not [each for each in concluded(PERFECT).verdicts if each.subject == "cases"]


# What is odd as a whole.


def test_nothing_measured_is_never_a_pass() -> None:
    nothing = measured(lambda _: OK, n=0)
    verdicts = concluded(nothing).verdicts
    assert outcome(concluded(nothing)) is Outcome.ERROR
    said = {each.subject: each.outcome for each in verdicts if each.required}
    assert {name for name, found in said.items() if found is Outcome.PASS} <= {"effect", "effect/champion"}
    assert (said["finite"], said["slices"]) == (Outcome.ERROR, Outcome.NO_DATA)


def test_a_champion_without_answers_is_not_replaced_by_the_base() -> None:
    found = measured(lambda _: OK, champion=None)
    quality = conclude_quality(subject(rules(), champion=True), found)
    said = next(each for each in quality.verdicts if each.subject == "champion")
    assert said.outcome is Outcome.NO_DATA
    assert outcome(quality) is Outcome.NO_DATA


def test_a_stopped_evaluation_has_proofs_and_no_scores() -> None:
    stopped = measured(lambda _: OK, n=0, planned=120, stopped="the candidate has no effect on its base")
    quality = concluded(stopped)
    assert (quality.metrics, quality.slices) == ((), ())
    cases = next(each for each in quality.verdicts if each.subject == "cases")
    assert (cases.outcome, cases.required) == (Outcome.NO_DATA, True)
    assert cases.reason == "none of 120 items was asked: the candidate has no effect on its base"


@pytest.mark.parametrize(
    ("leak", "outcome_", "required"),
    [
        (Outcome.FAIL, Outcome.FAIL, True),
        (Outcome.INCONCLUSIVE, Outcome.INCONCLUSIVE, True),
        (Outcome.NO_DATA, Outcome.PASS, False),
        (Outcome.PASS, Outcome.PASS, True),
    ],
)
def test_a_suite_that_stands_in_the_training_data_blocks(
    leak: Outcome, outcome_: Outcome, required: bool
) -> None:
    found = PERFECT.model_copy(update={"leak": Verdict(subject="leak", outcome=leak, reason="found")})
    assert verdict("leak", found).required is required
    assert outcome(concluded(found)) is outcome_


# Rows.


def test_the_table_has_every_metric_that_was_measured_with_the_effect_over_pairs() -> None:
    found = measured(lambda number: BAD if number < 12 else OK)
    rows = {row.metric: row for row in metric_rows(found, rules())}
    assert list(rows) == ["success", "exact_match", "json_compliance", "rouge_l"]
    assert rows["rouge_l"].effect == pytest.approx(-0.05)
    assert rows["rouge_l"].interval is not None
    assert rows["rouge_l"].interval.low < -0.05 < rows["rouge_l"].interval.high
    assert rows["success"].sides[Side.BASE].value == 0.0


def test_the_interval_of_a_metric_of_which_less_is_better_stands_in_its_own_direction() -> None:
    found = with_scores(
        PERFECT, lambda n, side, scores: scores.update(truncated_rate=float(n < 30 and side == "candidate"))
    )
    row = next(row for row in metric_rows(found, rules()) if row.metric == "truncated_rate")
    assert row.effect == pytest.approx(0.25)
    assert row.interval is not None
    assert 0 < row.interval.low < 0.25 < row.interval.high < 0.4


# Speed.


def shard(*milliseconds: float | None, number: str = "1/1", side: Side = Side.CANDIDATE) -> ShardTimings:
    timings = tuple(
        Timing(item=f"i{place}", milliseconds=each, tokens=20) for place, each in enumerate(milliseconds)
    )
    return ShardTimings(shard=number, hardware="a machine", threads=1, timings={side: timings})


def speed_verdict(shards: list[ShardTimings], **gates: Gate) -> Verdict:
    (said,) = conclude_speed(rules(gates=gates), shards).verdicts
    return said


def test_times_are_held_to_their_limit_by_their_quantile() -> None:
    times = [100.0 + number for number in range(100)]
    assert speed_verdict([shard(*times)], latency_p95_ms=Gate(max=194.1)).outcome is Outcome.PASS
    slow = speed_verdict([shard(*times)], latency_p95_ms=Gate(max=190))
    assert slow.outcome is Outcome.FAIL
    assert (
        slow.reason
        == "latency P95: 194 ms of 100 (90% interval 190 ms to 198 ms), above the maximum of 190 ms"
    )
    # 95 times 20 tokens in 149.5 ms on average.
    assert speed_verdict([shard(*times)], tokens_per_second=Gate(min=133)).outcome is Outcome.PASS
    assert speed_verdict([shard(*times)], tokens_per_second=Gate(min=134)).outcome is Outcome.FAIL


def test_the_worst_machine_decides_and_is_named() -> None:
    shards = [shard(*[10.0] * 8, number="1/2"), shard(*[900.0] * 8, number="2/2")]
    said = speed_verdict(shards, latency_p95_ms=Gate(max=500))
    assert said.outcome is Outcome.FAIL
    assert said.reason.endswith("above the maximum of 500 ms (shard 2/2, a machine)")


@pytest.mark.parametrize("name", ["latency_p95_ms", "tokens_per_second"])
def test_a_time_that_is_not_finite_is_an_error_not_a_pass(name: str) -> None:
    said = speed_verdict([shard(None, 5.0)], **{name: Gate(min=0.0)})
    assert said.outcome is Outcome.ERROR
    assert said.reason.endswith("is not a finite number")


def test_no_time_is_no_data() -> None:
    assert speed_verdict([], latency_p95_ms=Gate(max=1)).outcome is Outcome.NO_DATA
    assert speed_verdict([shard()], latency_p95_ms=Gate(max=1)).outcome is Outcome.NO_DATA
    other = shard(5.0, 6.0, side=Side.CHAMPION)
    assert speed_verdict([other], latency_p95_ms=Gate(max=1)).outcome is Outcome.NO_DATA
    # The clock gave no time of the first token.
    assert speed_verdict([shard(5.0, 6.0)], ttft_p95_ms=Gate(max=9)).outcome is Outcome.NO_DATA


def test_a_machine_that_did_not_time_the_candidate_is_no_data_whatever_the_others_say() -> None:
    others = shard(*[10.0] * 8, number="2/2", side=Side.CHAMPION)
    said = speed_verdict([shard(*[10.0] * 8, number="1/2"), others], latency_p95_ms=Gate(max=500))
    assert (said.outcome, said.reason) == (Outcome.NO_DATA, "latency P95 was not measured in shard 2/2")


def test_a_machine_that_had_no_question_lacks_no_time() -> None:
    shards = [shard(*[10.0] * 8, number="1/2"), shard(number="2/2")]
    assert speed_verdict(shards, latency_p95_ms=Gate(max=500)).outcome is Outcome.PASS
    assert speed_verdict(shards[1:], latency_p95_ms=Gate(max=500)).outcome is Outcome.NO_DATA


def test_speed_gates_that_are_not_required_stay_so() -> None:
    gate = Gate(max=1, required=False)
    for shards in ([], [shard()], [shard(5.0)], [shard(None, 5.0)]):
        assert not speed_verdict(shards, latency_p95_ms=gate).required


# The same facts, the same bytes.


def shuffled(value: Any, key: Any) -> Any:
    """The same JSON with the keys of every mapping in another order; lists keep theirs."""
    if isinstance(value, dict):
        return {name: shuffled(value[name], key) for name in sorted(value, key=key)}
    return [shuffled(each, key) for each in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def report() -> EvalReport:
    """Hundreds of cases with repeats of every kind, and everything that is told by side."""
    found = sample_report(per_slice=30)
    measured_ = found.measured.model_copy(
        update={
            "agreement": Agreement(
                reference="r", probes=8, distances={Side.BASE: 0.0, Side.CHAMPION: None, Side.CANDIDATE: None}
            ),
            "noise": {
                Side.CHAMPION: Repeat(asked=8, changed=2, differences={"rouge_l": 0.1, "success": 0.2}),
                Side.BASE: Repeat(asked=8, changed=1, differences={"rouge_l": 0.3}),
            },
            "not_finite": {Side.CHAMPION: 2, Side.BASE: 1, Side.CANDIDATE: 0},
        }
    )
    return found.model_copy(update={"quality": conclude_quality(found.subject, measured_)})


ORDERS = [
    str,
    lambda name: [-ord(letter) for letter in name],
    lambda name: (len(name), name),
    lambda name: crc32(name.encode()),
]


@pytest.mark.parametrize("order", ORDERS)
def test_the_order_of_mappings_changes_no_byte(report: EvalReport, order: Any) -> None:
    facts = shuffled(json.loads(report.quality.content), order)
    again = conclude_quality(
        Subject.model_validate_json(json.dumps(facts["subject"]), strict=True),
        Measured.model_validate_json(json.dumps(facts["measured"]), strict=True),
    )
    assert again.content == report.quality.content


def test_a_section_is_its_bytes_and_back(report: EvalReport) -> None:
    assert Quality.model_validate_json(report.quality.content, strict=True) == report.quality
    again = EvalReport.model_validate_json(report.content, strict=True)
    assert (again.content, again.digest) == (report.content, report.digest)
    assert judged_again(again).content == report.content
    assert not is_tampered(again)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60), st.integers(1, 5))
def test_any_answers_are_judged_to_the_same_bytes_again(
    answers: list[tuple[bool, bool]], slices: int
) -> None:
    found = measured(
        lambda n: float(answers[n][0]), lambda n: float(answers[n][1]), n=len(answers), slices=slices
    )
    quality = concluded(found, limits(rouge_l=WITHIN_FIVE_POINTS))
    read = Quality.model_validate_json(quality.content, strict=True)
    assert conclude_quality(read.subject, read.measured).content == quality.content
    assert sum(row.n for row in quality.slices) == len(answers)


EDITS = {
    "an outcome": lambda data: data["quality"]["verdicts"][0].update(outcome="pass"),
    "what is required": lambda data: data["quality"]["verdicts"][-1].update(required=False),
    "a verdict gone": lambda data: data["quality"]["verdicts"].pop(),
    "a reason": lambda data: data["quality"]["verdicts"][0].update(reason="fine"),
    "a row": lambda data: data["quality"]["metrics"][0].update(effect=0.5),
    "a slice gone": lambda data: data["quality"]["slices"].pop(),
    "a score": lambda data: data["quality"]["measured"]["cases"][0]["scores"]["candidate"].update(
        success=0.5
    ),
    "a margin": lambda data: data["quality"]["subject"]["rules"]["gates"]["exact_match"].update(
        vs_champion={"max_loss": 0.9, "confidence": None}
    ),
    "a time": lambda data: data["speed"]["shards"][0]["timings"]["candidate"][0].update(milliseconds=9e4),
    "a limit of time": lambda data: data["speed"]["verdicts"][0].update(reason="fast"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_report_is_found_out(report: EvalReport, edit: str) -> None:
    data = json.loads(report.content)
    EDITS[edit](data)
    assert is_tampered(EvalReport.model_validate_json(json.dumps(data), strict=True))


def test_what_fails_is_listed() -> None:
    found = measured(lambda number: BAD if number % 4 == 2 else OK)
    assert failures(concluded(found)) == ["champion/exact_match", "slice/s2"]
    assert scores_of(OK)["success"] == OK
