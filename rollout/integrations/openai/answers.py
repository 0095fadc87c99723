"""What a server answers, as far as it is read: everything else in it is left alone."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field

Count = Annotated[int, Field(ge=0, le=2**31 - 1)]

_LOWEST = -3.5e38  # what a masked token has in 32 bits
_ROUNDING = 0.1  # of a sum over a whole vocabulary in half precision


def _plausible(value: float) -> float:
    """A logarithm of a probability, or not finite: both are findings, anything else is a broken server."""
    if math.isfinite(value) and not _LOWEST <= value <= _ROUNDING:
        raise ValueError("no log-probability")
    return value


class _Token(BaseModel):
    logprob: Annotated[float, AfterValidator(_plausible)] | None

    @property
    def value(self) -> float:
        """Not a number where the server writes null: JSON has no word for it."""
        return math.nan if self.logprob is None else self.logprob


class _Logprobs(BaseModel):
    content: list[_Token] | None = None


class Counts(BaseModel):
    """How many tokens there were."""

    prompt_tokens: Count
    completion_tokens: Count


def _whole(text: str) -> str:
    """Half a surrogate pair cannot be written into any report."""
    text.encode()
    return text


class _Message(BaseModel):
    content: Annotated[str, AfterValidator(_whole)] | None = None


class _Choice(BaseModel):
    message: _Message
    logprobs: _Logprobs | None = None
    finish_reason: str | None = None


class Chat(BaseModel):
    """A whole chat completion."""

    model: str
    choices: Annotated[list[_Choice], Field(min_length=1, max_length=1)]
    usage: Counts


class _Change(BaseModel):
    delta: _Message
    logprobs: _Logprobs | None = None
    finish_reason: str | None = None


class Chunk(BaseModel):
    """One event of a streamed chat completion; the last one may hold the counts only."""

    model: str
    choices: Annotated[list[_Change], Field(max_length=1)] = []
    usage: Counts | None = None


class _Reading(BaseModel):
    prompt_logprobs: list[dict[int, _Token] | None] | None = None


class Completion(BaseModel):
    """A completion with the prompt read token by token, in vLLM's form."""

    model: str
    choices: Annotated[list[_Reading], Field(min_length=1, max_length=1)]


class Tokens(BaseModel):
    """What vLLM's `/tokenize` answers."""

    tokens: list[Count]


class Version(BaseModel):
    """What vLLM's `/version` answers."""

    version: Annotated[str, Field(pattern=r"^[!-~]([ -~]{0,98}[!-~])?$")]


def values_of(logprobs: _Logprobs | None) -> list[float]:
    """The log-probabilities of the tokens, in order; none where the server gives none."""
    return [] if logprobs is None or logprobs.content is None else [token.value for token in logprobs.content]
