"""ROUGE-L over Unicode tokens: the same as rouge-score on English, and right where that one gives zero."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rollout.core.scorers.metric import Unit, more

if TYPE_CHECKING:
    from rollout.core.answer import Answer
    from rollout.core.scorers import Score
    from rollout.core.suite import Golden, Item

METRICS = (more("rouge_l", "ROUGE-L", Unit.SCORE),)

_ASCII_WORD = re.compile(r"[a-z0-9]+")
# Scripts that are written without spaces: each letter is a token of its own.
_UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "BOPOMOFO", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN", "YI ")


def prepare(_golden: Golden) -> Score:
    """Scores items that have a reference."""
    return score


def score(item: Item, answer: Answer) -> dict[str, float]:
    """How close the answer is to the reference."""
    return {"rouge_l": rouge_l(item.reference, answer.text)} if item.reference.strip() else {}


def tokens(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation; single letters where a script has no spaces.

    Marks stay with the letter that carries them (Devanagari, combining accents).
    """
    folded = unicodedata.normalize("NFKC", text).lower()
    if folded.isascii():
        return _ASCII_WORD.findall(folded)
    return list(_words(folded))


def rouge_l(reference: str, answer: str) -> float:
    """F1 of the longest common subsequence of tokens, 0 to 1.

    Two texts without any word score 1 if they are the same, else 0. Source: Lin, "ROUGE" (2004), with beta 1 as
    in rouge-score.
    """
    wanted, given = tokens(reference), tokens(answer)
    if not wanted and not given:
        return float(reference.strip() == answer.strip())
    if not wanted or not given:
        return 0.0
    from rapidfuzz.distance import LCSseq

    common = LCSseq.similarity(wanted, given)
    return 2 * common / (len(wanted) + len(given))


def _words(text: str) -> Iterator[str]:
    word = ""
    for letter in text:
        if unicodedata.category(letter).startswith("M") and word:
            word += letter
        elif not letter.isalnum():
            if word:
                yield word
            word = ""
        elif letter > "\u0e00" and unicodedata.name(letter, "").startswith(_UNSPACED):
            if word:
                yield word
            word = letter
        elif word and word[0] > "\u0e00" and unicodedata.name(word[0], "").startswith(_UNSPACED):
            yield word
            word = letter
        else:
            word += letter
    if word:
        yield word
