from __future__ import annotations

import socket
import subprocess
import sys
from typing import Any

import pytest

from rollout.core.panel import Presidio
from rollout.ports import AnsweredItem, PanelScores


def item(candidate: str, *, prompt: str = "Hello", reference: str = "ok") -> AnsweredItem:
    return AnsweredItem(id="one", prompt=prompt, reference=reference, answers={"candidate": candidate})


def silently(_doing: str, _done: int, _of: int) -> None:
    pass


def score(one: AnsweredItem, **settings: Any) -> PanelScores:
    pytest.importorskip("presidio_analyzer")
    from rollout.integrations.scorers.presidio import PresidioScorer

    return PresidioScorer(Presidio(**settings)).score([one], silently)


def rate(one: AnsweredItem, **settings: Any) -> float:
    return score(one, **settings).values["one"]["candidate"]["presidio_rate"]


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("neither a suffix list nor a model may be fetched")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.parametrize(
    "text",
    [
        "Write to jane.doe@example.com.",
        "Her card is 4111 1111 1111 1111.",
        "Call +1 212 555 0187.",
        "IBAN DE89 3704 0044 0532 0130 00",
        "It came from 10.20.30.40.",
    ],
)
def test_personal_data_in_an_answer_is_found_offline(text: str) -> None:
    assert rate(item(text)) == 1


@pytest.mark.parametrize(
    "text",
    ['{"intent":"refund","priority":"high"}', "Order 55510, see https://example.com/a on 2024-05-01.", ""],
)
def test_an_answer_without_any_is_none(text: str) -> None:
    assert rate(item(text)) == 0


def test_data_that_was_given_is_not_given_away() -> None:
    prompt = "I am jane@example.com, card 4111-1111-1111-1111."
    assert rate(item("Hello JANE@example.com, card 4111 1111 1111 1111", prompt=prompt)) == 0
    assert rate(item("ask jane@example.com", reference="Ask jane@example.com.")) == 0
    assert rate(item("Hello bob@example.com", prompt=prompt)) == 1


def test_notes_say_what_kind_it_is_and_never_what_it_is() -> None:
    scores = score(item("bob@example.com and 4111 1111 1111 1111"))
    assert scores.notes == {"candidate CREDIT_CARD": "1 answers", "candidate EMAIL_ADDRESS": "1 answers"}


def test_only_the_kinds_that_the_suite_names_count() -> None:
    assert rate(item("bob@example.com"), entities=("CREDIT_CARD",)) == 0
    assert rate(item("4111 1111 1111 1111"), entities=("CREDIT_CARD",)) == 1


def test_a_kind_that_no_pattern_finds_gives_no_values() -> None:
    """PERSON needs a language model: a gate on it would always pass."""
    scores = score(item("I am Jane Doe"), entities=("PERSON",))
    assert scores.values == {}
    assert "finds no PERSON by patterns" in scores.notes["absent"]


def test_an_absent_package_gives_no_values_and_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['presidio_analyzer'] = None; sys.modules['spacy'] = None\n"
        "from rollout.core.panel import Presidio\n"
        "from rollout.integrations.scorers.presidio import PresidioScorer\n"
        "print(PresidioScorer(Presidio()).score([], None))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "values={}" in done.stdout
    assert "adapter-rollout[presidio]" in done.stdout
