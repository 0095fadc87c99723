"""Leaks: items that were trained on are found, ordinary kinship is not, and nothing compared is no pass."""

from __future__ import annotations

from rollout.core.leak import BOILERPLATE_TEXTS, NOTHING_COMPARED, LeakKind, Leaks, find_leaks
from rollout.core.suite import Item
from rollout.core.verdict import Outcome
from tests.support.suites import item

LONG = (
    "my parcel from the big sale last week was left with a neighbour whom I have never met and who is away "
    "until the end of the month"
)
SHORT = "why was my card charged twice for one order"


def asked(content: str, id_: str = "a", **changes: object) -> Item:
    return item(id=id_, messages=[{"role": "user", "content": content}], **changes)


def found(items: list[Item], *texts: str) -> Leaks:
    return find_leaks(items, iter(texts))


def test_a_prompt_that_was_trained_on_is_found_whatever_its_spelling() -> None:
    leaks = found([asked("Where is my order, please?")], "something else", "where  is MY order please")
    (leak,) = leaks.leaks
    assert (leak.item, leak.kind, leak.text, leak.evidence) == (
        "a",
        LeakKind.SAME,
        2,
        "where is my order please",
    )
    assert leaks.verdict.outcome is Outcome.FAIL
    assert leaks.verdict.reason == "1 of 1 items stand in the training data: a"


def test_most_runs_of_thirteen_words_are_a_leak() -> None:
    words = LONG.split()
    (leak,) = found([asked(LONG)], "hello there " + " ".join(words[2:]) + " and so on").leaks
    assert (leak.kind, leak.evidence) == (LeakKind.OVERLAP, " ".join(words[2:15]).lower())
    assert 0.7 <= leak.share < 1


def test_thirteen_words_in_a_row_are_told_and_no_leak() -> None:
    words = LONG.split()
    leaks = found([asked(LONG)], "hello there " + " ".join(words[4:17]) + " and so on")
    assert (leaks.leaks, leaks.kin, leaks.verdict.outcome) == ((), ("a",), Outcome.PASS)
    assert (
        leaks.verdict.reason == "none of 1 items stands in 1 training texts; 1 share a run of words with them"
    )


def test_twelve_words_in_a_row_are_nothing() -> None:
    words = LONG.split()
    leaks = found([asked(LONG)], "hello there " + " ".join(words[4:16]) + " and so on")
    assert (leaks.leaks, leaks.kin, leaks.verdict.outcome) == ((), (), Outcome.PASS)


def test_one_text_of_an_item_is_enough() -> None:
    other = " ".join(f"word{number}" for number in range(200))
    assert len(found([asked(LONG, reference=other)], f"so: {LONG}").leaks) == 1
    assert len(found([asked(other, reference=LONG)], f"so: {LONG}").leaks) == 1


def test_a_short_prompt_leaks_by_the_share_of_its_runs() -> None:
    assert found([asked(SHORT)], f"Hi! {SHORT}, I wonder").leaks[0].share == 1
    half = " ".join(SHORT.split()[:8])
    assert found([asked(SHORT)], f"{half} parcel").leaks == ()


def test_a_long_reference_that_was_trained_on_is_a_leak() -> None:
    (leak,) = found([asked("what happened to it?", reference=LONG)], f"Answer: {LONG}.").leaks
    assert leak.kind is LeakKind.OVERLAP


def test_a_label_as_reference_is_no_leak() -> None:
    label = '{"intent": "refund", "priority": "low"}'
    assert found([asked("I want my money back", reference=label, expect="json")], label).leaks == ()


def test_an_answer_that_every_training_text_gives_is_boilerplate() -> None:
    items = [asked("what happened to it?", reference=LONG)]
    once = [f"{number} {LONG}" for number in range(BOILERPLATE_TEXTS)]
    assert len(found(items, *once).leaks) == 1
    assert found(items, *once, f"again {LONG}").leaks == ()


def test_a_prompt_is_not_excused_by_how_often_it_was_trained_on() -> None:
    assert len(found([asked(LONG)], *(f"{number} {LONG}" for number in range(50))).leaks) == 1


def test_what_many_items_say_is_boilerplate() -> None:
    items = [asked(f"{LONG} case {number}", f"i{number}") for number in range(40)]
    assert found(items, f"so {LONG} it is").leaks == ()
    assert [leak.item for leak in found(items, f"{LONG} case 7").leaks] == ["i7"]


def test_the_system_message_is_not_compared() -> None:
    turns = [{"role": "system", "content": LONG}, {"role": "user", "content": "Where is my order?"}]
    assert found([item(messages=turns)], LONG).leaks == ()


def test_earlier_turns_of_the_user_are_compared() -> None:
    turns = [
        {"role": "user", "content": LONG},
        {"role": "assistant", "content": "I see."},
        {"role": "user", "content": "And now?"},
    ]
    assert found([item(messages=turns)], f"so: {LONG}").leaks[0].kind is LeakKind.OVERLAP


def test_scripts_without_spaces_are_compared_by_letters() -> None:
    prompt = "先週の大売り出しで買った荷物が、会ったこともない隣の人に預けられていて困っています。"
    assert found([asked(prompt)], f"お客様：{prompt}").leaks[0].kind is LeakKind.OVERLAP
    assert found([asked(prompt)], "先週の大売り出しで買った荷物はどこですか。").leaks == ()
    korean = (
        "지난주 할인 행사에서 산 물건이 아직 오지 않았는데 언제쯤 받을 수 있을지 알려 주시면 고맙겠습니다"
    )
    assert found([asked(korean)], f"고객: {korean}").leaks[0].kind is LeakKind.OVERLAP


def test_nothing_compared_is_never_a_pass() -> None:
    assert found([asked(LONG)]).verdict.outcome is Outcome.NO_DATA
    assert NOTHING_COMPARED.outcome is Outcome.NO_DATA
    short = found([asked("Hello!"), asked("Hi", "b")], "hello")
    assert (short.unjudged, short.leaks) == (("a", "b"), ())
    assert (short.verdict.outcome, short.verdict.reason) == (
        Outcome.NO_DATA,
        "every item is too short to compare",
    )


def test_what_is_too_short_is_said_beside_a_pass() -> None:
    verdict = found([asked(LONG), asked("Hello!", "b")], "hello").verdict
    assert verdict.outcome is Outcome.PASS
    assert verdict.reason.endswith("; 1 are too short to say")


def test_the_shipped_suite_does_not_leak_into_itself_by_form_alone() -> None:
    prompts = [f"Good morning, my order {number} is late. Please help." for number in range(60)]
    items = [asked(prompt, f"i{number}") for number, prompt in enumerate(prompts[:30])]
    assert found(items, *prompts[30:]).leaks == ()
    assert [leak.item for leak in found(items, *prompts[25:]).leaks] == [f"i{n}" for n in range(25, 30)]
