"""A pair as a case: what the gateway saw counts, kept texts fill in, and a metric is there for both or for neither."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.core.evaluation import Case, Side
from rollout.core.gatefile import Gates
from rollout.core.metric import Pair
from rollout.core.shadow.cases import PairReader, turns_of
from rollout.core.shadow.rules import rules_for_traffic
from tests.support.shadows import REFUSED, SAID, pair, suite


def case(of: Pair, *, whole: bool = True) -> Case:
    found = PairReader.of(suite(), whole=whole).read(of, Side.CHAMPION)
    assert found is not None
    return found


def test_a_pair_with_a_failure_is_no_case() -> None:
    reader = PairReader.of(suite(), whole=True)
    assert reader.read(pair(1, status=500), Side.CHAMPION) is None
    assert reader.read(pair(1, stable={"error": "the answer broke off"}), Side.CHAMPION) is None


def test_a_metric_is_there_for_both_answers_or_for_neither() -> None:
    found = case(pair(1, finish_reason=None, completion_tokens=None, cold=True))
    ours, theirs = found.scores[Side.CANDIDATE], found.scores[Side.CHAMPION]
    assert ours.keys() - theirs.keys() == {"agreement"}
    assert {"truncated_rate", "completion_tokens", "answer_ms"} & theirs.keys() == set()


def test_what_the_gateway_measured_of_the_whole_answer_goes_before_the_kept_text() -> None:
    found = case(pair(1, said="<redacted>", format_valid=True))
    assert found.scores[Side.CANDIDATE]["json_compliance"] == 1


def test_the_suite_says_what_a_refusal_is_and_without_both_texts_the_gateway_does() -> None:
    told = case(pair(1, said=REFUSED, refused=False, stable={"refused": False}))
    assert (told.scores[Side.CANDIDATE]["refusals"], told.scores[Side.CHAMPION]["refusals"]) == (1, 0)
    seen = case(pair(1, said=REFUSED, before=None, refused=False, stable={"refused": True}))
    assert (seen.scores[Side.CANDIDATE]["refusals"], seen.scores[Side.CHAMPION]["refusals"]) == (0, 1)


def test_texts_without_personal_data_tell_nothing_of_format_or_of_personal_data() -> None:
    unseen = {"format_valid": None}
    redacted = case(pair(1, **unseen, stable=unseen), whole=False)
    assert {"personal_data", "json_compliance"} & redacted.scores[Side.CANDIDATE].keys() == set()
    whole = case(pair(1, said='{"intent": "mail ann.weber@posteo.de"}', **unseen, stable=unseen))
    assert whole.scores[Side.CANDIDATE]["personal_data"] == 1
    assert whole.scores[Side.CANDIDATE]["json_compliance"] == 1


def test_agreement_is_the_candidates_nearness_to_what_stable_said() -> None:
    assert case(pair(1)).scores[Side.CANDIDATE]["agreement"] == 1
    assert case(pair(1, said=REFUSED)).scores[Side.CANDIDATE]["agreement"] == 0


def test_without_texts_there_is_neither_prompt_nor_answer() -> None:
    found = case(pair(1, said=None, before=None))
    assert (found.messages, found.replies) == ((), {})
    assert "agreement" not in found.scores[Side.CANDIDATE]


def test_requests_of_one_user_are_a_cluster() -> None:
    assert case(pair(1)).cluster == "user 1"
    assert case(pair(1, stable={"key_hash": None, "conversation_hash": "c"})).cluster == "c"


def test_the_ids_of_a_record_stay_as_they_are() -> None:
    ids = ["0" * 16 + f"{number:016x}" for number in range(2)]
    pairs = [replace(pair(1), stable=replace(pair(1).stable, request_id=id_)) for id_ in ids]
    reader = PairReader.of(suite(), whole=True, ours=False)
    cases = [found for each in pairs if (found := reader.read(each, Side.CHAMPION)) is not None]
    assert [each.id for each in cases] == ids
    assert case(pairs[0]).id == "0" * 16, "a gateway's own id is as good by half"


def test_long_answers_are_shortened_for_the_report() -> None:
    found = case(pair(1, said="a" * 50_000, before=SAID))
    assert len(found.text(Side.CANDIDATE)) == 20_001


@pytest.mark.parametrize(
    ("body", "turns"),
    [
        ({"prompt": "Once"}, [("user", "Once")]),
        ({"messages": [{"role": "developer", "content": "Be brief."}]}, [("system", "Be brief.")]),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "See"}, {"image_url": {}}]}]},
            [("user", "See\n…")],
        ),
        ({"messages": [{"role": "user", "content": None}, 7]}, [("user", "…")]),
        ({"messages": "x"}, [("user", "…")]),
    ],
)
def test_conversations_of_any_form_can_be_shown(body: object, turns: list[tuple[str, str]]) -> None:
    assert [(turn.role, turn.content) for turn in turns_of(json.dumps(body))] == turns


@given(
    st.recursive(
        st.none() | st.booleans() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.sampled_from(["messages", "role", "content", "prompt", "text"]), inner)
        ),
    )
)
def test_no_request_is_too_strange_to_be_shown(body: object) -> None:
    assert all(turn.content for turn in turns_of(json.dumps(body)))


def test_gates_that_need_a_right_answer_are_set_aside_and_named() -> None:
    gates = {
        "exact_match": {"min": 0.9},
        "latency_p95_ms": {"max": 500},
        "empty_rate": {"max": 0.01},
        "over_refusal_rate": {"max": 0.02, "vs_champion": {"max_loss": 0.03}},
        "pii_rate": {"max": 0.01},
    }
    rules, aside = rules_for_traffic(suite(gates))
    assert set(aside) == {"exact_match", "latency_p95_ms"}
    assert set(rules.gates) == {
        "empty_rate",
        "refusals",
        "personal_data",
        "truncated_rate",
        "json_compliance",
    }
    refusals = rules.gates["refusals"]
    assert refusals.vs_champion is not None
    assert (refusals.vs_champion.max_loss, refusals.max) == (0.03, None), (
        "how many must be refused is not known of traffic"
    )
    assert rules.gates["empty_rate"].max == 0.01


def test_a_suite_of_free_text_asks_no_format_of_traffic() -> None:
    rules, aside = rules_for_traffic(suite({"json_compliance": {"min": 0.9}}, schema=None))
    assert "json_compliance" in aside
    assert set(rules.gates) == {"refusals", "empty_rate", "truncated_rate"}


def test_no_gate_file_names_what_an_evaluation_cannot_measure() -> None:
    with pytest.raises(ValueError, match="agreement is measured in shadow traffic only"):
        Gates.model_validate({"gates": {"agreement": {"min": 0.5}}})
