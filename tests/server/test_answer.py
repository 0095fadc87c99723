from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rollout.core.generation import Token
from rollout.server.answer import Answer, Piece


class Letters:
    """Tokens that are letters; `?` completes nothing until the next one comes."""

    def __init__(self) -> None:
        self.held = ""

    def feed(self, token: int) -> str:
        self.held += chr(token)
        if self.held.endswith("?"):
            return ""
        text, self.held = self.held, ""
        return text

    def rest(self) -> str:
        return self.held


def told(text: str, stops: tuple[str, ...]) -> list[Piece]:
    """The pieces of an answer that ends on its length, up to the one that finishes it."""
    answer = Answer(Letters(), stops)
    pieces = []
    for at, letter in enumerate(text):
        token = Token(id=ord(letter), logprob=-1.0, finish="length" if at == len(text) - 1 else None)
        pieces.append(answer.feed(token))
        if pieces[-1].finish is not None:
            break
    return pieces


def shown(text: str, *stops: str) -> tuple[str, str | None]:
    pieces = told(text, stops)
    return "".join(piece.text for piece in pieces), pieces[-1].finish


def test_without_a_stop_text_everything_is_shown() -> None:
    assert shown("abc?") == ("abc?", "length")


def test_an_answer_is_cut_before_its_stop_text() -> None:
    assert shown("hello\n\nworld", "\n\n") == ("hello", "stop")


def test_the_first_of_several_stop_texts_counts() -> None:
    assert shown("one two three", "three", "two") == ("one ", "stop")


def test_what_only_begins_like_a_stop_text_is_shown_in_the_end() -> None:
    assert shown("abcab", "abd") == ("abcab", "length")


def test_text_goes_out_as_soon_as_it_cannot_be_a_stop_text() -> None:
    assert [piece.text for piece in told("xaaay", ("aab",))] == ["x", "", "", "a", "aay"]


@given(
    text=st.text(alphabet="ab?", min_size=1, max_size=30),
    stops=st.lists(st.text(alphabet="ab?", min_size=1, max_size=4), max_size=3),
)
def test_no_stop_text_is_ever_shown_and_nothing_else_is_lost(text: str, stops: list[str]) -> None:
    pieces = told(text, tuple(stops))
    told_text = "".join(piece.text for piece in pieces)
    assert not any(stop in told_text for stop in stops)
    if pieces[-1].finish == "length":
        assert told_text == text
    else:
        assert any(text.startswith(told_text + stop) for stop in stops)
