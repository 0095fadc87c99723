"""Repetition: an answer that turns in circles, the usual end of a spoilt adapter."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rollout.core.scorers.metric import Unit, less
from rollout.core.scorers.rouge import tokens

if TYPE_CHECKING:
    from rollout.core.answer import Answer
    from rollout.core.scorers import Score
    from rollout.core.suite import Golden, Item

METRICS = (less("repetition_rate", "repetition", Unit.SCORE),)

_WORDS = 4
# One to three signs that follow themselves at least fifteen times: "!!!!!!", "hahaha". Bounded, so never slow.
_RUN = re.compile(r"(\S{1,3}?)\1{15,}")


def prepare(_golden: Golden) -> Score:
    """Scores every item."""
    return score


def score(_item: Item, answer: Answer) -> dict[str, float]:
    """0 where nothing returns, towards 1 for a text that is nothing else."""
    return {"repetition_rate": repeated(answer.text)}


def repeated(text: str) -> float:
    """The larger of the shares of repeated words and signs."""
    return max(repeated_words(text), repeated_signs(text))


def repeated_words(text: str) -> float:
    """The share of groups of four words that were there before.

    Source: seq-rep-4 of Welleck et al., "Neural text generation with unlikelihood training" (2019).
    """
    words = tokens(text)
    groups = [tuple(words[start : start + _WORDS]) for start in range(len(words) - _WORDS + 1)]
    return 1 - len(set(groups)) / len(groups) if groups else 0.0


def repeated_signs(text: str) -> float:
    """The share of the text, without spaces, that is a run of the same one to three signs."""
    dense = "".join(text.split())
    return sum(len(run[0]) for run in _RUN.finditer(dense)) / len(dense) if dense else 0.0
