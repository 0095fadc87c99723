"""Proofs: an adapter that was not applied, or not as it should be, never passes."""

from __future__ import annotations

from math import comb
from typing import Any

import pytest

from rollout.core.effect import SMALLEST_EFFECT, has_no_effect, more_often, noise_floor
from rollout.core.evaluation import Agreement, Effect, Measured, Repeat, Reply, Shift, Side
from rollout.core.verdict import Outcome
from tests.support.measurements import OK, concluded, measured, outcome, rules, verdict

PERFECT = measured(lambda _: OK)
BASE, CHAMPION, CANDIDATE = Side.BASE, Side.CHAMPION, Side.CANDIDATE


def with_effect(**change: Any) -> Measured:
    return PERFECT.model_copy(update={"effect": PERFECT.effect.model_copy(update=change)})


def shifted(candidate: float | None, champion: float | None = 0.4, same: int = 0) -> dict[Side, Shift]:
    return {
        CANDIDATE: Shift(largest=candidate, same=same, compared=120),
        CHAMPION: Shift(largest=champion, same=0, compared=120),
    }


def noise(of: float | None) -> dict[Side, float | None]:
    return {BASE: 0.0, CHAMPION: 0.0, CANDIDATE: of}


@pytest.mark.parametrize(
    ("name", "found", "said", "reason"),
    [
        ("effect", with_effect(shifts=shifted(0.0, same=120)), Outcome.FAIL, "no effect: 120 of 120 answers"),
        ("effect", with_effect(shifts=shifted(0.0)), Outcome.FAIL, "(untrained, or ignored by the engine)"),
        ("effect", with_effect(shifts=shifted(0.02), noise=noise(0.01)), Outcome.FAIL, "has no effect"),
        ("effect", with_effect(shifts=shifted(SMALLEST_EFFECT)), Outcome.FAIL, "adapter has no effect"),
        ("effect", with_effect(shifts=shifted(None)), Outcome.FAIL, "of the candidate on the probe texts"),
        ("effect/champion", with_effect(shifts=shifted(0.4, 0.0)), Outcome.ERROR, "nothing can be compared"),
        ("effect/champion", with_effect(shifts=shifted(0.4, None)), Outcome.ERROR, "of the champion on the"),
        ("effect", with_effect(noise=noise(None)), Outcome.ERROR, "of the base on the probe texts are not"),
        ("effect", with_effect(noise={}), Outcome.ERROR, "are not finite"),
        ("effect", with_effect(probes=0, shifts={}), Outcome.NO_DATA, "was not measured"),
        ("effect", with_effect(shifts={}), Outcome.NO_DATA, "was not measured"),
    ],
)
def test_an_adapter_that_was_not_applied_never_passes(
    name: str, found: Measured, said: Outcome, reason: str
) -> None:
    about = verdict(name, found)
    assert about.outcome is said
    assert reason in about.reason
    assert outcome(concluded(found)) is not Outcome.PASS


def test_an_effect_beyond_the_noise_passes_and_tells_both() -> None:
    said = verdict("effect", with_effect(shifts=shifted(0.04), noise=noise(0.01)))
    assert said.outcome is Outcome.PASS
    assert said.reason == "moves log-probabilities of the base by up to 0.04 (noise 0.01)"
    same = verdict("effect", with_effect(shifts=shifted(0.04, same=80)))
    assert same.reason.endswith("; yet 80 of 120 answers are the base's")


def test_the_noise_is_the_largest_of_all_sides_and_unknown_if_one_is() -> None:
    effect = Effect(probes=8, noise=noise(0.3), shifts={})
    assert noise_floor(effect) == 0.3
    assert noise_floor(Effect(probes=8, noise=noise(None), shifts={})) is None
    assert noise_floor(Effect(probes=8, noise={}, shifts={})) is None
    assert not has_no_effect(effect, CANDIDATE), "an unknown effect is not shown to be none"


# An engine that cannot read fixed answers.


def by_answers(differ: int, *, compared: int = 120, again: Repeat | None = None) -> Measured:
    shifts = {
        CANDIDATE: Shift(largest=None, same=compared - differ, compared=compared),
        CHAMPION: Shift(largest=None, same=0, compared=compared),
    }
    found = with_effect(probes=0, noise={}, shifts=shifts)
    return found.model_copy(update={"noise": {} if again is None else {CHAMPION: again}})


def test_answers_prove_an_effect_where_probes_cannot_be_read() -> None:
    steady = Repeat(asked=32, changed=0)
    said = verdict("effect", by_answers(60, again=steady))
    assert said.outcome is Outcome.PASS
    assert said.reason.startswith(
        "60 of 120 answers differ from the base's, while 0 of 32 change by themselves (p 8e-09)"
    )


def test_the_p_value_of_changed_answers_is_that_of_fishers_exact_test() -> None:
    # Fisher's tea: 3 of 4 against 1 of 4 is 17 / 70.
    assert more_often(3, 4, 1, 4) == pytest.approx(17 / 70)
    assert more_often(0, 120, 0, 32) == 1


def test_an_ignored_adapter_on_an_engine_that_changes_two_answers_of_a_hundred_proves_no_effect() -> None:
    def chance(hits: int, of: int) -> float:
        return comb(of, hits) * 0.02**hits * 0.98 ** (of - hits)

    proven = sum(
        chance(differ, 300) * chance(changed, 32)
        for differ in range(40)
        for changed in range(33)
        if more_often(differ, 300, changed, 32) < 0.001
    )
    assert proven < 0.001
    six = by_answers(6, compared=300, again=Repeat(asked=32, changed=0))
    assert verdict("effect", six).outcome is Outcome.FAIL, "six changes of 300 are what such an engine does"


@pytest.mark.parametrize(
    ("differ", "again", "said"),
    [
        (0, Repeat(asked=32, changed=0), Outcome.FAIL),
        (1, Repeat(asked=32, changed=0), Outcome.FAIL),
        (12, Repeat(asked=32, changed=2), Outcome.FAIL),
        (120, Repeat(asked=32, changed=32), Outcome.FAIL),
        (120, None, Outcome.NO_DATA),
        (120, Repeat(asked=0, changed=0), Outcome.NO_DATA),
    ],
)
def test_answers_that_change_by_themselves_prove_nothing(
    differ: int, again: Repeat | None, said: Outcome
) -> None:
    assert verdict("effect", by_answers(differ, again=again)).outcome is said


def test_no_answer_to_compare_is_no_data() -> None:
    found = by_answers(0, compared=0, again=Repeat(asked=8, changed=0))
    assert verdict("effect", found).outcome is Outcome.NO_DATA


# Finite answers.


@pytest.mark.parametrize(
    ("side", "said"),
    [(CANDIDATE, Outcome.FAIL), (CHAMPION, Outcome.ERROR), (BASE, Outcome.ERROR)],
)
def test_answers_that_are_not_finite_block(side: Side, said: Outcome) -> None:
    found = PERFECT.model_copy(update={"not_finite": {**PERFECT.not_finite, side: 3}})
    about = verdict("finite", found)
    assert about.outcome is said
    assert str(side) in about.reason


@pytest.mark.parametrize("side", list(Side))
def test_a_side_whose_answers_nobody_counted_is_no_data(side: Side) -> None:
    counted = {each: 0 for each in Side if each is not side}
    said = verdict("finite", PERFECT.model_copy(update={"not_finite": counted}))
    assert (said.outcome, said.reason) == (
        Outcome.NO_DATA,
        f"nobody counted what is not finite of {side}",
    )


# Agreement with a full-precision reference.


def agreeing(
    candidate: float | None, champion: float | None = 0.0, base: float | None = 0.0, **by: Any
) -> Measured:
    distances = {BASE: base, CHAMPION: champion, CANDIDATE: candidate}
    found = Agreement(reference="transformers 5 float32", probes=8, distances=distances)
    return PERFECT.model_copy(update={"agreement": found.model_copy(update=by)})


@pytest.mark.parametrize(
    ("found", "said", "reason"),
    [
        (agreeing(0.0009), Outcome.PASS, "0.0009 from transformers 5 float32 at most"),
        (agreeing(0.0011), Outcome.FAIL, "applies the adapter otherwise than PEFT"),
        (agreeing(0.0011, champion=0.0009), Outcome.PASS, "base and champion 0.0009"),
        (agreeing(0.0, champion=0.002), Outcome.ERROR, "computes base or champion otherwise"),
        (agreeing(0.0, base=0.002), Outcome.ERROR, "computes base or champion otherwise"),
        (agreeing(None), Outcome.FAIL, "log-probabilities of candidate are not finite"),
        (agreeing(0.0, champion=None), Outcome.ERROR, "log-probabilities of champion are not finite"),
        (agreeing(None, base=None), Outcome.FAIL, "log-probabilities of base, candidate are not finite"),
        (agreeing(0.0, probes=0), Outcome.NO_DATA, "was not compared with a full-precision reference"),
        (agreeing(0.0, distances={BASE: 0.0}), Outcome.NO_DATA, "was not compared"),
        (PERFECT, Outcome.NO_DATA, "was not compared"),
    ],
)
def test_an_engine_agrees_with_its_reference_or_says_who_does_not(
    found: Measured, said: Outcome, reason: str
) -> None:
    about = verdict("agreement", found, rules(agreement="required"))
    assert about.outcome is said
    assert reason in about.reason
    assert about.required
    assert not verdict("agreement", found, rules(agreement="optional")).required


@pytest.mark.parametrize(
    ("dtype", "quantization", "distance", "said"),
    [
        ("float32", "none", 0.01, Outcome.FAIL),
        ("float16", "none", 0.04, Outcome.PASS),
        ("float16", "none", 0.06, Outcome.FAIL),
        ("bfloat16", "none", 0.09, Outcome.PASS),
        ("bfloat16", "none", 0.11, Outcome.FAIL),
        ("bfloat16", "nf4", 0.45, Outcome.PASS),
        ("bfloat16", "nf4", 0.55, Outcome.FAIL),
        ("int3", "none", 1e-9, Outcome.FAIL),
    ],
)
def test_the_tolerance_is_that_of_the_engines_type_and_none_for_types_nobody_measured(
    dtype: str, quantization: str, distance: float, said: Outcome
) -> None:
    from rollout.core.effect import judge_effect

    found = judge_effect(agreeing(distance), rules(), dtype=dtype, quantization=quantization)
    assert next(each for each in found if each.subject == "agreement").outcome is said


# Noise.


def test_an_engine_that_answers_twice_differently_is_told_but_does_not_block() -> None:
    again = Repeat(asked=8, changed=2, differences={"success": 0.25, "rouge_l": 0.01, "empty_rate": 0.1})
    said = verdict("noise", PERFECT.model_copy(update={"noise": {CHAMPION: again}}))
    assert (said.outcome, said.required) == (Outcome.INCONCLUSIVE, False)
    assert said.reason == (
        "2 of 8 answers of champion changed when asked again in another batch "
        "(ROUGE-L 0.010, right answers 25.0 points on average)"
    )


@pytest.mark.parametrize(
    ("changed", "said"), [(4, Outcome.INCONCLUSIVE), (5, Outcome.ERROR), (8, Outcome.ERROR)]
)
def test_an_engine_that_changes_most_answers_is_not_the_one_that_was_compared(
    changed: int, said: Outcome
) -> None:
    found = PERFECT.model_copy(update={"noise": {CHAMPION: Repeat(asked=8, changed=changed)}})
    about = verdict("noise", found)
    assert (about.outcome, about.required) == (said, said is Outcome.ERROR)
    assert (outcome(concluded(found)) is Outcome.PASS) == (said is not Outcome.ERROR)
    if said is Outcome.ERROR:
        assert f"({changed} of 8 of champion): the engine, or what it holds, is not the one" in about.reason


def test_sampled_answers_may_change_when_asked_again() -> None:
    reply = Reply(text="x", completion_tokens=1, finish_reason="stop")
    sampled = PERFECT.cases[0].model_copy(update={"replies": {CHAMPION: (reply, reply)}})
    found = PERFECT.model_copy(
        update={
            "noise": {CHAMPION: Repeat(asked=8, changed=8)},
            "cases": (sampled, *PERFECT.cases[1:]),
        }
    )
    about = verdict("noise", found)
    assert (about.outcome, about.required) == (Outcome.INCONCLUSIVE, False)


def test_nothing_asked_twice_is_no_data_about_noise() -> None:
    said = verdict("noise", PERFECT.model_copy(update={"noise": {}}))
    assert (said.outcome, said.required) == (Outcome.NO_DATA, False)


def test_a_first_release_has_no_champion_to_prove() -> None:
    found = measured(lambda _: OK, champion=None)
    subjects = [each.subject for each in concluded(found).verdicts]
    assert "effect" in subjects
    assert "effect/champion" not in subjects
