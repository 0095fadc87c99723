"""What follows from pairs: as good passes, worse fails and says why, and too little never passes."""

from __future__ import annotations

from typing import Any

import pytest

from rollout.core.metric import ErrorClass, Event, MetricSpec
from rollout.core.shadow.conclude import failures_of, measured_of, timings_of, verdicts_on
from rollout.core.shadow.document import Lateness, Replayed, Traffic
from rollout.core.verdict import Outcome
from tests.support.shadows import REFUSED, judged, outcome, pair, spec, subject, suite


def replayed(**changes: Any) -> Replayed:
    given = {
        "questions": 200,
        "sent": 200,
        "not_sent": 0,
        "speed": 1.0,
        "max_in_flight": 64,
        "seconds": 10.0,
        "lateness": Lateness(p50_ms=0.1, p99_ms=1.0, largest_ms=2.0),
        "targets": ("http://127.0.0.1:1",),
    }
    return Replayed.model_validate({**given, **changes})


def test_a_candidate_that_is_as_good_passes() -> None:
    found = judged([pair(n) for n in range(200)])
    assert outcome(found) is Outcome.PASS
    assert found["pairs"].reason == "200 pairs were compared, 100 are the least"
    assert set(found) == {
        "pairs",
        "error",
        "champion/refusals",
        "champion/empty_rate",
        "champion/truncated_rate",
        "champion/json_compliance",
    }


def test_fewer_pairs_than_were_asked_for_are_no_data_however_good_they_are() -> None:
    found = judged([pair(n) for n in range(99)])
    assert outcome(found) is Outcome.NO_DATA
    assert found["pairs"].reason == "99 pairs were compared, 100 are the least"


def test_no_pair_at_all_is_no_data_in_every_verdict() -> None:
    found = judged([])
    assert outcome(found) is Outcome.NO_DATA
    assert Outcome.PASS not in {each.outcome for each in found.values()}


def test_no_pair_is_no_data_even_where_none_is_asked_for() -> None:
    assert judged([], min_pairs=0)["pairs"].outcome is Outcome.NO_DATA


def test_a_log_that_cannot_be_read_is_no_data() -> None:
    found = judged([], unread="there is no traffic log")["pairs"]
    assert (found.outcome, found.reason) == (
        Outcome.NO_DATA,
        "the traffic log could not be read: there is no traffic log",
    )


def test_copies_without_an_answer_are_no_part_of_a_pass() -> None:
    found = judged([pair(n) for n in range(400)], copied=100_000)
    assert outcome(found) is Outcome.INCONCLUSIVE
    assert found["copies"].reason.startswith("99600 of 100000 copies have no answer")
    assert outcome(judged([pair(n) for n in range(400)], copied=404)) is Outcome.PASS, "some are under way"


def test_harm_that_few_pairs_prove_is_a_failure_all_the_same() -> None:
    found = judged([pair(n, said=REFUSED, format_valid=False) for n in range(80)])
    assert found["pairs"].outcome is Outcome.NO_DATA
    assert outcome(found) is Outcome.FAIL


@pytest.mark.parametrize(
    ("changes", "failing", "why"),
    [
        ({"said": REFUSED}, "champion/refusals", "answers that refuse +25.0 points"),
        ({"format_valid": False}, "champion/json_compliance", "valid JSON −25.0 points"),
        ({"output_chars": 0}, "champion/empty_rate", "empty answers +25.0 points"),
        ({"finish_reason": "length"}, "champion/truncated_rate", "cut off by the token limit +25.0 points"),
    ],
)
def test_a_candidate_that_is_worse_in_a_quarter_of_its_answers_fails_and_says_in_what(
    changes: dict[str, Any], failing: str, why: str
) -> None:
    found = judged([pair(n, **(changes if n % 4 == 0 else {})) for n in range(200)])
    assert found[failing].outcome is Outcome.FAIL
    assert found[failing].reason.startswith(why)
    assert {name for name, each in found.items() if each.outcome is Outcome.FAIL} == {failing}


def test_a_candidate_that_fails_more_often_fails_by_the_plans_metric() -> None:
    found = judged([pair(n, status=500 if n % 4 == 0 else 200) for n in range(200)])
    assert found["error"].outcome is Outcome.FAIL
    assert found["error"].reason.startswith("worse: 50/200 (25.0%) in the candidate, 0/200 (0.0%) in stable")


@pytest.mark.parametrize(
    "planned",
    [[spec(Event.FORMAT_INVALID)], [spec(Event.ERROR, required=False)]],
    ids=["format only", "errors not required"],
)
def test_a_candidate_that_fails_half_of_all_requests_fails_whatever_the_plan_names(
    planned: list[MetricSpec],
) -> None:
    found = judged([pair(n, status=500 if n % 2 else 200) for n in range(400)], None, *planned)
    assert found["failed_answers"].required
    assert found["failed_answers"].reason.startswith("worse: 200/400 (50.0%) in the candidate")
    assert outcome(found) is Outcome.FAIL


def test_failures_are_judged_where_the_plan_names_no_metric_of_traffic() -> None:
    about = subject(suite()).model_copy(update={"specs": ()})
    measured = measured_of(about, (), {})
    found = {each.subject: each for each in verdicts_on(about, Traffic(source="test"), measured, ())}
    assert found["failed_answers"].outcome is Outcome.NO_DATA
    assert "failed_answers" not in judged([pair(n) for n in range(200)]), "the plan's own is enough"


def test_a_slower_candidate_fails_where_the_plan_calls_it_slow() -> None:
    slow = spec(Event.SLOW)
    found = judged([pair(n, latency_ms=1500 if n % 4 == 0 else 20) for n in range(200)], None, spec(), slow)
    assert found["slow"].outcome is Outcome.FAIL
    cold = judged([pair(n, latency_ms=1500, cold=True) for n in range(200)], None, spec(), slow)
    assert cold["slow"].outcome is Outcome.NO_DATA, (
        "a first load is no slow answer, and proves none to be quick"
    )


def test_what_both_do_alike_is_no_fault_of_the_candidate() -> None:
    found = judged([pair(n, said=REFUSED, before=REFUSED) for n in range(200)])
    assert found["champion/refusals"].outcome is Outcome.PASS


def test_one_user_with_a_thousand_requests_is_no_thousand_witnesses() -> None:
    found = judged([pair(n, key_hash="ann", stable={"key_hash": "ann"}) for n in range(1000)])
    assert found["champion/refusals"].outcome is Outcome.INCONCLUSIVE
    assert "1 clusters" in found["champion/refusals"].reason


def test_one_question_a_thousand_times_is_no_thousand_witnesses() -> None:
    nobody = {"key_hash": None}
    found = judged([pair(n, asked="hi", key_hash=None, stable=nobody) for n in range(1000)])
    assert found["pairs"].outcome is Outcome.NO_DATA
    assert found["pairs"].reason == "1000 pairs were compared, of 1 different questions, 100 are the least"
    assert found["champion/refusals"].outcome is Outcome.INCONCLUSIVE
    assert "1 clusters" in found["champion/refusals"].reason
    others = judged([pair(n, key_hash=None, stable=nobody) for n in range(1000)])
    assert outcome(others) is Outcome.PASS


def test_one_question_of_a_thousand_users_is_a_thousand_questions() -> None:
    assert outcome(judged([pair(n, asked="hi") for n in range(1000)])) is Outcome.PASS


def test_limits_of_the_gate_file_hold_for_traffic_too() -> None:
    gates = {"empty_rate": {"max": 0.01}, "json_compliance": {"min": 0.95}}
    assert outcome(judged([pair(n) for n in range(200)], suite(gates))) is Outcome.PASS
    found = judged([pair(n, output_chars=0 if n % 40 == 0 else 9) for n in range(200)], suite(gates))
    assert found["gate/empty_rate"].outcome is Outcome.FAIL
    assert found["gate/empty_rate"].required


def test_a_limit_that_stable_does_not_keep_on_this_traffic_only_tells() -> None:
    gates = {"json_compliance": {"min": 0.95}}
    bad = {"format_valid": False}
    found = judged([pair(n, **bad, stable=bad) for n in range(200)], suite(gates))
    limit = found["gate/json_compliance"]
    assert not limit.required
    assert limit.reason.endswith("stable does not keep it here either, at 0.0%")
    assert found["champion/json_compliance"].required, "that it got no worse is still asked for"


def test_a_gated_metric_that_nobody_looked_at_is_no_data_and_says_where_to_look() -> None:
    gates = {"toxicity_rate": {"vs_champion": {"max_loss": 0.02}}}
    found = judged([pair(n) for n in range(200)], suite(gates))["champion/toxic_answers"]
    assert found.outcome is Outcome.NO_DATA
    assert "gateway.examine.toxicity looks at no answer of both" in found.reason


def test_what_the_gateway_looked_at_needs_no_texts() -> None:
    seen: dict[str, Any] = {"said": None, "before": None, "refused": False}
    found = judged([pair(n, **seen, stable={"refused": False}) for n in range(200)])
    assert outcome(found) is Outcome.PASS


def test_bad_answers_whose_texts_were_not_kept_are_not_left_out_of_a_pass() -> None:
    gates = {"repetition_rate": {"vs_champion": {"max_loss": 0.02}}}
    long = {"said": None, "output_chars": 80_000}
    found = judged([pair(n, **(long if n % 2 else {})) for n in range(400)], suite(gates, schema=None))
    repeated = found["champion/repetition_rate"]
    assert repeated.outcome is Outcome.INCONCLUSIVE
    assert repeated.reason.endswith("200 of 400 pairs have it on one side only, and were left out")
    assert outcome(found) is Outcome.INCONCLUSIVE


def test_long_answers_in_which_nobody_could_look_to_the_end_are_not_left_out_of_a_pass() -> None:
    gates = {"pii_rate": {"vs_champion": {"max_loss": 0.02}}}
    looked = {"personal_data": False}
    pairs = [pair(n, personal_data=None if n % 2 else False, stable=looked) for n in range(800)]
    found = judged(pairs, suite(gates), whole=False)["champion/personal_data"]
    assert (found.outcome, found.required) == (Outcome.INCONCLUSIVE, True)
    few = [pair(n, personal_data=None if n < 8 else False, stable=looked) for n in range(800)]
    assert judged(few, suite(gates), whole=False)["champion/personal_data"].outcome is Outcome.PASS


def test_what_neither_side_has_is_not_one_sided() -> None:
    pairs = [pair(n, **({} if n % 2 else {"said": None, "before": None})) for n in range(400)]
    gates = {"repetition_rate": {"vs_champion": {"max_loss": 0.05}}}
    assert judged(pairs, suite(gates))["champion/repetition_rate"].outcome is Outcome.PASS


def test_refusals_that_nobody_looked_for_are_no_data() -> None:
    found = judged([pair(n, said=None, before=None) for n in range(200)])
    assert found["champion/refusals"].outcome is Outcome.NO_DATA
    assert outcome(found) is Outcome.NO_DATA


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"stopped": True, "sent": 150}, "the replay was stopped: 150 of 200 questions were sent to both"),
        ({"sent": 150, "not_sent": 50}, "150 of 200 questions were sent to both; 50 were due while 64"),
    ],
)
def test_a_replay_that_left_questions_out_never_passes(changes: dict[str, Any], why: str) -> None:
    found = judged([pair(n) for n in range(200)], replayed=replayed(**changes))
    assert found["replay"].outcome is Outcome.INCONCLUSIVE
    assert found["replay"].reason.startswith(why)
    assert outcome(found) is Outcome.INCONCLUSIVE


def test_a_late_generator_proves_nothing() -> None:
    late = Lateness(p50_ms=1.0, p99_ms=51.0, largest_ms=80.0)
    found = judged([pair(n) for n in range(200)], replayed=replayed(lateness=late))
    assert found["generator"].outcome is Outcome.INCONCLUSIVE
    assert "too busy to show latency" in found["generator"].reason
    sound = judged([pair(n) for n in range(200)], replayed=replayed())
    assert outcome(sound) is Outcome.PASS


def test_failures_are_told_by_who_can_mend_them() -> None:
    pairs = [
        pair(0),
        pair(1, status=503),
        pair(2, status=500, stable={"status": 502}),
        pair(3, status=0, error="no answer in time", error_class=ErrorClass.TIMEOUT),
        pair(4, status=422),
    ]
    told = {row.kind: (row.stable, row.candidate, row.both) for row in failures_of(pairs)}
    assert told == {"status 5xx": (1, 2, 1), "timeout": (0, 1, 0), "rejected (4xx)": (0, 1, 0)}


def test_only_pairs_of_two_good_and_warm_answers_are_timed() -> None:
    pairs = [pair(0, latency_ms=7), pair(1, status=500), pair(2, cold=True), pair(3, stable={"cold": True})]
    timings = timings_of(subject(suite()), pairs, "here").timings
    assert {side: [each.milliseconds for each in found] for side, found in timings.items()} == {
        "champion": [20.0],
        "candidate": [7.0],
    }


def test_first_tokens_compare_only_where_both_were_streamed() -> None:
    pairs = [
        pair(0, first_token_ms=5.0, stable={"first_token_ms": 4.0}),
        pair(1, stable={"first_token_ms": 4.0}),
    ]
    timings = timings_of(subject(suite()), pairs, "here").timings
    assert [each.first_token_ms for each in timings["champion"]] == [4.0, None]
