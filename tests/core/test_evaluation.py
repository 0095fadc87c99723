"""Suites, scores and the gate: what passes, what is blocked, and with which reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import inf, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rollout.core.answer import Scorer, is_json, lacks_field, strip_fence
from rollout.core.document import DocumentErrors
from rollout.core.evaluation import Effect, ItemScores, Measured, Repeat, Rules, Shift, Side, Timing, quantile
from rollout.core.gate import gate, metric_rows, slice_rows
from rollout.core.score import METRICS, Unit, is_known, metric, shown, signed
from rollout.core.suite import Expect, Gate, Gates, Item, OnInconclusive, Suite, digest_of, read_items
from rollout.core.verdict import Outcome, Verdict
from rollout.errors import Unreadable

OK, BAD = 1.0, 0.0
FIELD_FORM = {
    "rouge_l": {"min": 0.65, "description": "close to the references"},
    "latency_p95_ms": {"max": 500},
    "json_compliance": {"min": 0.95},
    "refusal_rate": {"min": 0.98},
    "tokens_per_second": {"min": 50},
    "exact_match_intent": {"min": 0.9},
}

# Documents.


def test_a_gate_file_in_the_form_of_the_field_loads_as_it_is() -> None:
    gates = Gates.model_validate_json(json.dumps({"gates": FIELD_FORM}), strict=True)
    assert gates.gates["latency_p95_ms"] == Gate(max=500)


@pytest.mark.parametrize(
    ("gates", "reason"),
    [
        ({}, "at least 1"),
        ({"rouge_l": {"description": "no limit"}}, "needs min or max"),
        ({"rouge_l": {"min": 0.9, "max": 0.1}}, "nothing can pass"),
        ({"rogue_l": {"min": 0.65}}, "no metric 'rogue_l'"),
        ({"rouge_l": {"minimum": 0.65}}, "Extra inputs"),
        ({"rouge_l": {"min": nan}}, "finite"),
        ({"rouge_l": {"max": inf}}, "finite"),
        ({"exact_match_": {"min": 0.1}}, "no metric"),
    ],
)
def test_a_gate_that_could_never_block_or_never_pass_is_refused(gates: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        Gates.model_validate({"gates": gates})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"champion_margin": {}}, "at least 1"),
        ({"champion_margin": {"exact_match": 0}}, "greater than 0"),
        ({"champion_margin": {"exact_math": 0.03}}, "no metric 'exact_math'"),
        ({"champion_margin": {"exact_match_colour": 0.03}}, "no metric 'exact_match_colour'"),
        ({"champion_margin": {"latency_p95_ms": 10.0}}, "a gate, not a margin"),
        ({"items": "../secrets.jsonl"}, "pattern"),
        ({"items": "/etc/passwd"}, "pattern"),
        ({"confidence": 1.0}, "less than 1"),
        ({"on_inconclusive": "pass"}, "'block' or 'warn'"),
        ({"surprise": 1}, "Extra inputs"),
    ],
)
def test_a_suite_that_cannot_be_meant_is_refused(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        Suite.model_validate({**SUITE, **change})


SUITE: dict[str, Any] = {
    "schema": "adapter-rollout/suite/v1",
    "name": "triage",
    "items": "triage/golden.jsonl",
    "fields": ("intent",),
    "max_tokens": 64,
    "gates": "default",
    "champion_margin": {"exact_match": 0.03, "exact_match_intent": 0.03},
}


def line(**change: Any) -> bytes:
    data = {
        "id": "a",
        "messages": [{"role": "user", "content": "hi"}],
        "reference": "{}",
        "slice": "s",
        **change,
    }
    return json.dumps(data).encode()


def test_items_keep_their_order_and_blank_lines_are_skipped() -> None:
    items = read_items(line(id="b") + b"\n\n" + line(id="a") + b"\n", "golden.jsonl")
    assert [item.id for item in items] == ["b", "a"]


def test_every_bad_line_is_named_at_once_with_file_and_line() -> None:
    content = b"\n".join(
        [line(), b"{not json", line(id="a"), line(id="c", slcie="typo"), line(id="d", messages=[])]
    )
    with pytest.raises(DocumentErrors) as caught:
        read_items(content, "golden.jsonl")
    text = caught.value.message
    assert "golden.jsonl:2:1" in text
    assert "golden.jsonl:3:1: /id: 'a' is also the id of line 1" in text
    assert "golden.jsonl:4:1: /slcie" in text
    assert "golden.jsonl:5:1: /messages" in text


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_an_empty_suite_proves_nothing(content: bytes) -> None:
    with pytest.raises(Unreadable, match="an empty suite proves nothing"):
        read_items(content, "golden.jsonl")


@pytest.mark.parametrize(
    "bad",
    [
        {"reference": " ", "expect": "json"},
        {"messages": [{"role": "assistant", "content": "hi"}]},
        {"expect": "anything"},
        {"id": "no spaces"},
        {"slice": "two\nlines"},
    ],
)
def test_an_item_that_cannot_be_scored_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(DocumentErrors):
        read_items(line(**bad), "golden.jsonl")


def test_the_digest_sees_where_one_part_ends() -> None:
    assert digest_of(b"ab", b"c") != digest_of(b"a", b"bc")


# One answer.

SCORER = Scorer(
    fields=("intent", "priority"),
    refusals=("I can't help", "Das kann ich nicht"),
    response_schema={
        "type": "object",
        "required": ["intent"],
        "properties": {"intent": {"enum": ["refund", "outage"]}},
    },
)
REFERENCE = '{"intent": "refund", "priority": "low"}'


def scored(text: str, expect: Expect = Expect.JSON, finish: str = "stop") -> dict[str, float]:
    reference = REFERENCE if expect is Expect.JSON else "I can't help with that."
    item = Item(
        id="a", messages=({"role": "user", "content": "x"},), reference=reference, slice="s", expect=expect
    )  # type: ignore[arg-type]
    return SCORER.score(item, text, completion_tokens=7, finish_reason=finish)


def test_key_order_and_spaces_do_not_matter_to_an_exact_match() -> None:
    scores = scored('{"priority":"low","intent":"refund"}')
    assert {name: scores[name] for name in ("exact_match", "json_compliance", "success")} == {
        "exact_match": 1, "json_compliance": 1, "success": 1,
    }  # fmt: skip


def test_each_field_is_scored_alone() -> None:
    scores = scored('{"intent":"refund","priority":"high"}')
    assert (scores["exact_match_intent"], scores["exact_match_priority"], scores["exact_match"]) == (1, 0, 0)


@pytest.mark.parametrize(
    ("text", "valid", "unfenced"),
    [
        ('{"intent":"refund"}', 1, 1),
        ('```json\n{"intent":"refund"}\n```', 0, 1),
        ('Sure! ```json\n{"intent":"refund"}\n```', 0, 0),
        ('{"intent":"refund"', 0, 0),
        ('{"intent":"lunch"}', 0, 0),
        ('{"intent":"refund","x":NaN}', 0, 0),
        ("[" * 100_000, 0, 0),
        ("", 0, 0),
        ('"refund"', 0, 0),
    ],
)
def test_json_is_counted_as_written_and_once_unfenced(text: str, valid: float, unfenced: float) -> None:
    scores = scored(text)
    assert (scores["json_compliance"], scores["json_compliance_unfenced"]) == (valid, unfenced)


def test_true_is_not_one() -> None:
    scorer = Scorer(fields=("n",), refusals=(), response_schema=None)
    item = Item(
        id="a",
        messages=({"role": "user", "content": "x"},),
        reference='{"n": 1}',
        slice="s",
        expect=Expect.JSON,
    )  # type: ignore[arg-type]
    assert scorer.score(item, '{"n": true}', completion_tokens=1, finish_reason="stop")["exact_match"] == 0


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("I can't help with that request.", True),
        ("I can’t help with that.", True),
        ("  i CAN'T help\nwith it", True),
        ("Thank you for asking. I can't help with that.", True),
        ("Das kann ich nicht tun.", True),
        ("I'm sorry to hear that your parcel is late.", False),
        ('She said: "I can\'t help with that."', False),
        ("Yes. Sure. Of course. I can't help loving it.", False),
        ("I can't helping", False),
        ('{"note": "I can\'t help"}', False),
        ("", False),
        ("   ", False),
    ],
)
def test_a_refusal_opens_a_sentence(text: str, refusal: bool) -> None:
    assert SCORER.is_refusal(text) is refusal


def test_an_empty_answer_is_neither_a_refusal_nor_an_unwanted_one() -> None:
    wanted, unwanted = scored("", Expect.REFUSAL), scored("")
    assert (wanted["refusal_rate"], wanted["success"], wanted["empty_rate"]) == (0, 0, 1)
    assert (unwanted["over_refusal_rate"], unwanted["empty_rate"]) == (0, 1)


def test_a_refused_ticket_counts_as_over_refusal() -> None:
    assert scored("I can't help with that.")["over_refusal_rate"] == 1
    assert "over_refusal_rate" not in scored("I can't help with that.", Expect.REFUSAL)


def test_a_cut_off_answer_is_counted() -> None:
    assert scored("{", finish="length")["truncated_rate"] == 1


@given(st.text(max_size=200), st.sampled_from(Expect))
def test_any_answer_gets_finite_scores_of_known_metrics(text: str, expect: Expect) -> None:
    scores = scored(text, expect)
    assert all(0 <= value <= 7 for value in scores.values())
    assert all(is_known(name, ("intent", "priority")) for name in scores)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner)))
def test_what_is_json_stays_json_in_a_fence(value: Any) -> None:
    text = json.dumps(value)
    assert is_json(text)
    assert json.loads(strip_fence(f"```json\n{text}\n```")) == value


@pytest.mark.parametrize(
    "schema", [{"type": "nonsense"}, {"$ref": "http://127.0.0.1:9/never-fetched"}, {"pattern": "("}]
)
def test_a_response_schema_that_is_wrong_or_wants_the_network_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(Unreadable, match="response schema"):
        Scorer(fields=(), refusals=(), response_schema=schema)


def test_a_reference_without_the_fields_is_found() -> None:
    assert lacks_field(REFERENCE, ("intent", "priority")) is None
    assert lacks_field('{"intent": 1}', ("intent", "priority")) == "the reference lacks the fields priority"
    assert lacks_field("refund", ()) == "the reference is not JSON"


# Metrics.


def test_differences_have_signs_and_shares_are_points() -> None:
    assert shown(0.978, Unit.SHARE) == "97.8%"
    assert signed(-0.0111, Unit.SHARE) == "−1.1 points"
    assert signed(0.00001, Unit.SHARE) == "0.0 points"
    assert signed(12.3, Unit.MILLISECONDS) == "+12.3 ms"


def test_every_metric_can_be_looked_up() -> None:
    assert all(metric(name).id == name for name in METRICS)
    assert metric("exact_match_intent").unit is Unit.SHARE
    with pytest.raises(KeyError):
        metric("accuracy")


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50), st.floats(0, 1))
def test_the_quantile_is_that_of_numpy(values: list[float], share: float) -> None:
    import numpy as np

    assert quantile(values, share) == pytest.approx(float(np.quantile(values, share)), rel=1e-9, abs=1e-9)


# The gate.


def measured(
    candidate: Callable[[int], float],
    champion: Callable[[int], float] | None = lambda _: OK,
    *,
    n: int = 120,
    slices: int = 4,
) -> Measured:
    """`n` items of JSON, in slices of equal size; the functions say which are right."""

    def scores(right: float) -> dict[str, float]:
        return {"success": right, "exact_match": right, "json_compliance": right, "rouge_l": 0.5 + right / 2}

    items = []
    for number in range(n):
        sides = {Side.BASE: scores(BAD), Side.CANDIDATE: scores(candidate(number))}
        if champion is not None:
            sides[Side.CHAMPION] = scores(champion(number))
        items.append(
            ItemScores(id=f"i{number}", slice=f"s{number % slices}", expect=Expect.JSON, scores=sides)
        )
    sides = (Side.BASE, Side.CANDIDATE) if champion is None else tuple(Side)
    timing = tuple(Timing(item=f"i{k}", milliseconds=100.0 + k, tokens=20) for k in range(8))
    shift = Shift(largest=0.4, same=0, compared=n)
    return Measured(
        items=tuple(items),
        timings=dict.fromkeys(sides, timing),
        effect=Effect(probes=8, noise=0.0, shifts={side: shift for side in sides if side is not Side.BASE}),
        repeats=dict.fromkeys(sides, Repeat(asked=8, changed=0)),
        not_finite=dict.fromkeys(sides, 0),
    )


def rules(**change: Any) -> Rules:
    return Rules(
        **{
            "gates": {"json_compliance": Gate(min=0.5)},
            "champion_margin": {"exact_match": 0.05},
            "confidence": 0.95,
            "seed": 7,
            "on_inconclusive": OnInconclusive.BLOCK,
            **change,
        }
    )


def verdict(subject: str, found: Measured, by: Rules) -> Verdict:
    return next(each for each in gate(found, by).verdicts if each.subject == subject)


PERFECT = measured(lambda _: OK)


def test_an_equal_candidate_passes() -> None:
    analysis = gate(PERFECT, rules())
    assert analysis.outcome is Outcome.PASS, analysis.reasons
    assert analysis.reasons == ()


def test_one_broken_slice_fails_by_name_though_the_global_gates_pass() -> None:
    found = measured(lambda number: BAD if number % 4 == 2 else OK)
    analysis = gate(found, rules(champion_margin={"exact_match": 0.9}))
    failed = [each for each in analysis.verdicts if each.outcome is Outcome.FAIL]
    assert [each.subject for each in failed] == ["slice/s2"]
    assert "fell from 100.0% to 0.0% of 30: 30 lost, 0 gained against the champion" in failed[0].reason
    assert "[i2, i6, i10, i14, i18 and 25 more]" in failed[0].reason
    assert analysis.outcome is Outcome.FAIL


def test_the_worst_slice_comes_first() -> None:
    found = measured(lambda number: BAD if number % 4 == 2 and number > 60 else OK)
    assert next(row.slice for row in slice_rows(found, rules())) == "s2"


def test_a_loss_that_chance_explains_fails_no_slice() -> None:
    found = measured(lambda number: BAD if number in (2, 6, 10) else OK)
    assert verdict("slices", found, rules()).outcome is Outcome.PASS


def test_slices_too_small_to_prove_anything_are_told_but_do_not_block() -> None:
    found = measured(lambda _: OK, slices=40)
    blind = verdict("slice/s1", found, rules())
    assert (blind.outcome, blind.required) == (Outcome.INCONCLUSIVE, False)
    assert blind.reason == "3 items are too few to prove a loss among 40 slices"
    assert gate(found, rules()).outcome is Outcome.PASS


def test_a_proven_loss_beyond_the_margin_fails() -> None:
    worse = verdict("champion/exact_match", measured(lambda number: BAD if number < 20 else OK), rules())
    assert worse.outcome is Outcome.FAIL
    assert worse.effect == pytest.approx(-1 / 6)
    assert "proven worse" in worse.reason


def test_too_few_items_are_inconclusive_and_say_how_many_would_settle_it() -> None:
    found = verdict("champion/exact_match", measured(lambda _: OK, n=40), rules())
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.required
    assert (
        "40 items cannot exclude a loss beyond the margin; about 52 items like these would settle it"
        in found.reason
    )


def test_inconclusive_blocks_unless_the_policy_only_wants_a_warning() -> None:
    few = measured(lambda _: OK, n=40)
    assert gate(few, rules()).outcome is Outcome.INCONCLUSIVE
    assert gate(few, rules(on_inconclusive=OnInconclusive.WARN)).outcome is Outcome.PASS


def test_a_warning_never_covers_a_proven_loss() -> None:
    worse = measured(lambda number: BAD if number < 20 else OK)
    assert gate(worse, rules(on_inconclusive=OnInconclusive.WARN)).outcome is Outcome.FAIL


def test_lower_is_better_where_the_metric_says_so() -> None:
    items = tuple(
        item.model_copy(
            update={
                "scores": {
                    side: {**all_, "truncated_rate": float(side is Side.CANDIDATE)}
                    for side, all_ in item.scores.items()
                }
            }
        )
        for item in PERFECT.items
    )
    found = verdict(
        "champion/truncated_rate",
        PERFECT.model_copy(update={"items": items}),
        rules(champion_margin={"truncated_rate": 0.05}),
    )
    assert found.outcome is Outcome.FAIL
    assert found.effect == 1.0
    assert found.interval is not None
    assert found.interval.low > 0.9


def test_scores_need_twenty_pairs() -> None:
    found = verdict(
        "champion/rouge_l", measured(lambda _: OK, n=19), rules(champion_margin={"rouge_l": 0.05})
    )
    assert found.outcome is Outcome.INCONCLUSIVE
    assert "19 items are too few for an interval, 20 are the least" in found.reason


def test_a_score_is_compared_by_bootstrap() -> None:
    found = verdict(
        "champion/rouge_l",
        measured(lambda number: BAD if number < 30 else OK),
        rules(champion_margin={"rouge_l": 0.05}),
    )
    assert found.outcome is Outcome.FAIL
    assert found.effect == pytest.approx(-0.125)


def test_a_metric_that_no_item_measures_is_no_data_and_blocks() -> None:
    by = rules(gates={"refusal_rate": Gate(min=0.9)}, champion_margin={"over_refusal_rate": 0.1})
    assert verdict("gate/refusal_rate", PERFECT, by).outcome is Outcome.NO_DATA
    assert verdict("champion/over_refusal_rate", PERFECT, by).outcome is Outcome.NO_DATA
    assert gate(PERFECT, by).outcome is Outcome.NO_DATA


def test_a_failed_gate_names_value_limit_and_items() -> None:
    found = verdict(
        "gate/json_compliance",
        measured(lambda number: BAD if number < 4 else OK),
        rules(gates={"json_compliance": Gate(min=0.98)}),
    )
    assert found.outcome is Outcome.FAIL
    assert found.reason == "valid JSON: 96.7%, below the minimum of 98.0% [i0, i1, i2, i3]"


def test_a_value_on_the_limit_passes() -> None:
    by = rules(gates={"json_compliance": Gate(min=0.95), "latency_p95_ms": Gate(max=106.65)})
    found = measured(lambda number: BAD if number < 6 else OK)
    assert verdict("gate/json_compliance", found, by).outcome is Outcome.PASS
    assert verdict("gate/latency_p95_ms", found, by).outcome is Outcome.PASS


def test_a_time_that_is_not_finite_is_an_error_not_a_pass() -> None:
    timing = (Timing(item="i0", milliseconds=None, tokens=3), Timing(item="i1", milliseconds=5.0, tokens=3))
    found = PERFECT.model_copy(update={"timings": {**PERFECT.timings, Side.CANDIDATE: timing}})
    for name in ("latency_p95_ms", "tokens_per_second"):
        gone = verdict(f"gate/{name}", found, rules(gates={name: Gate(min=0.0)}))
        assert (gone.outcome, gone.reason.endswith("is not a finite number")) == (Outcome.ERROR, True)


def test_no_timings_at_all_are_no_data() -> None:
    found = PERFECT.model_copy(update={"timings": {}})
    assert (
        verdict("gate/latency_p95_ms", found, rules(gates={"latency_p95_ms": Gate(max=1)})).outcome
        is Outcome.NO_DATA
    )


def with_effect(**change: Any) -> Measured:
    shifts = change.pop("shifts", PERFECT.effect.shifts)
    return PERFECT.model_copy(
        update={"effect": PERFECT.effect.model_copy(update={"shifts": shifts, **change})}
    )


def shifted(candidate: float | None, champion: float | None = 0.4) -> dict[Side, Shift]:
    return {
        Side.CANDIDATE: Shift(largest=candidate, same=120, compared=120),
        Side.CHAMPION: Shift(largest=champion, same=0, compared=120),
    }


@pytest.mark.parametrize(
    ("subject", "found", "outcome", "reason"),
    [
        (
            "effect",
            with_effect(shifts=shifted(0.0)),
            Outcome.FAIL,
            "adapter has no effect: 120 of 120 answers",
        ),
        ("effect", with_effect(shifts=shifted(0.02), noise=0.01), Outcome.FAIL, "adapter has no effect"),
        (
            "effect",
            with_effect(shifts=shifted(None)),
            Outcome.FAIL,
            "of the candidate on the probe texts are not finite",
        ),
        ("effect/champion", with_effect(shifts=shifted(0.4, 0.0)), Outcome.ERROR, "nothing can be compared"),
        (
            "effect/champion",
            with_effect(shifts=shifted(0.4, None)),
            Outcome.ERROR,
            "of the champion on the probe texts",
        ),
        ("effect", with_effect(noise=None), Outcome.ERROR, "of the base on the probe texts are not finite"),
        ("effect", with_effect(probes=0), Outcome.NO_DATA, "was not measured"),
        ("effect", with_effect(shifts={}), Outcome.NO_DATA, "was not measured"),
    ],
)
def test_an_adapter_that_was_not_applied_never_passes(
    subject: str, found: Measured, outcome: Outcome, reason: str
) -> None:
    said = verdict(subject, found, rules())
    assert said.outcome is outcome
    assert reason in said.reason
    assert gate(found, rules()).outcome is not Outcome.PASS


@pytest.mark.parametrize(
    ("side", "outcome"),
    [(Side.CANDIDATE, Outcome.FAIL), (Side.CHAMPION, Outcome.ERROR), (Side.BASE, Outcome.ERROR)],
)
def test_answers_that_are_not_finite_block(side: Side, outcome: Outcome) -> None:
    found = PERFECT.model_copy(update={"not_finite": {**PERFECT.not_finite, side: 3}})
    assert verdict("finite", found, rules()).outcome is outcome


def test_nothing_measured_is_never_a_pass() -> None:
    nothing = Measured(
        items=(), timings={}, effect=Effect(probes=0, noise=0.0, shifts={}), repeats={}, not_finite={}
    )
    analysis = gate(nothing, rules())
    assert analysis.outcome is Outcome.ERROR
    assert all(each.outcome is not Outcome.PASS for each in analysis.verdicts)


def test_a_first_release_is_compared_with_the_base() -> None:
    found = measured(lambda _: OK, champion=None)
    assert found.opponent is Side.BASE
    assert verdict("base/exact_match", found, rules()).outcome is Outcome.PASS
    assert gate(found, rules()).outcome is Outcome.PASS


def test_an_engine_that_answers_twice_differently_is_told_but_does_not_block() -> None:
    found = PERFECT.model_copy(
        update={"repeats": {**PERFECT.repeats, Side.CHAMPION: Repeat(asked=8, changed=2)}}
    )
    noise = verdict("noise", found, rules())
    assert (noise.outcome, noise.required) == (Outcome.INCONCLUSIVE, False)
    assert noise.reason == "answers changed when asked again alone: champion 2 of 8"


@given(st.lists(st.booleans(), min_size=60, max_size=60), st.lists(st.booleans(), min_size=60, max_size=60))
def test_a_champion_never_fails_against_itself_and_rows_are_complete(
    one: list[bool], other: list[bool]
) -> None:
    same = measured(lambda number: float(one[number]), lambda number: float(one[number]), n=60)
    assert gate(same, rules(gates={"json_compliance": Gate(min=0.0)})).outcome is not Outcome.FAIL
    mixed = measured(lambda number: float(one[number]), lambda number: float(other[number]), n=60)
    assert sum(row.n for row in slice_rows(mixed, rules())) == 60
    assert {row.metric for row in metric_rows(mixed, rules())} >= {"success", "rouge_l", "latency_p95_ms"}
