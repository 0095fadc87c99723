"""ROUGE-L against Google's rouge-score where that one is right, and beyond."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.core.scorers.rouge import rouge_l, tokens

ASCII = st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=60)
VOCABULARY = ("the", "cat", "sat", "on", "a", "mat", "and", "then", "ran", "off", "7", "42", "x_y", "it's")
WORDS = st.lists(st.sampled_from(VOCABULARY), max_size=12)


@settings(max_examples=200, deadline=None)
@given(st.one_of(ASCII, WORDS.map(" ".join)), st.one_of(ASCII, WORDS.map(" ".join)))
def test_ascii_scores_are_those_of_rouge_score(reference: str, answer: str) -> None:
    from rouge_score.rouge_scorer import RougeScorer

    if tokens(reference) or tokens(answer):
        expected = RougeScorer(["rougeL"], use_stemmer=False).score(reference, answer)["rougeL"].fmeasure
        assert rouge_l(reference, answer) == pytest.approx(expected, abs=1e-12)


SENTENCES = {
    "Cyrillic": "Заказ не пришёл, верните деньги.",
    "Greek": "Η παραγγελία δεν έφτασε.",
    "Chinese": "我的包裹还没有到。",
    "Japanese": "パスワードを忘れました。",
    "Korean": "비밀번호를 잊어버렸어요.",
    "Thai": "ฉันลืมรหัสผ่าน",
    "Hindi": "मेरा ऑर्डर नहीं आया",
    "Arabic": "لم يصل طلبي بعد",
}


@pytest.mark.parametrize("text", SENTENCES.values(), ids=SENTENCES)
def test_identical_text_of_any_script_scores_one(text: str) -> None:
    assert tokens(text)
    assert rouge_l(text, text) == 1.0


@pytest.mark.parametrize("text", SENTENCES.values(), ids=SENTENCES)
def test_text_of_another_script_scores_zero(text: str) -> None:
    assert rouge_l(text, "My order has not arrived.") == 0.0


def test_scripts_without_spaces_are_compared_letter_by_letter() -> None:
    assert tokens("我的order包裹") == ["我", "的", "order", "包", "裹"]
    assert rouge_l("我的包裹", "你的包裹") == pytest.approx(0.75)


def test_marks_stay_with_their_letter() -> None:
    assert tokens("नहीं आया") == ["नहीं", "आया"]
    assert tokens("Café") == tokens("Cafe\u0301") == ["café"]


def test_the_order_of_words_counts() -> None:
    assert rouge_l("a b c d", "d c b a") == pytest.approx(0.25)


def test_text_without_a_word_is_right_only_if_it_is_the_same() -> None:
    assert rouge_l("👍", "👍 ") == 1.0
    assert rouge_l("👍", "👎") == 0.0
    assert rouge_l("yes", "") == rouge_l("", "yes") == rouge_l("yes", "…") == 0.0


@given(st.text(max_size=80), st.text(max_size=80))
def test_any_two_texts_have_a_symmetric_score_between_zero_and_one(one: str, other: str) -> None:
    score = rouge_l(one, other)
    assert 0.0 <= score <= 1.0
    assert score == rouge_l(other, one)


@given(st.text(min_size=1, max_size=80))
def test_a_text_is_like_itself_whatever_its_normal_form(text: str) -> None:
    assert rouge_l(text, unicodedata.normalize("NFC", text)) == 1.0 or not tokens(text)
