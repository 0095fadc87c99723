"""One continuation of a prompt, token by token: what is asked of a decoder and what comes out of one step."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from rollout.errors import Unreadable

Finish = Literal["stop", "length"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """One prompt to be continued.

    `adapter` is the key that the decoder loaded it under, None the base. Temperature 0 is greedy; above it, the
    same seed gives the same tokens. `top_logprobs` is the number of alternatives to report with each token.
    """

    prompt: tuple[int, ...]
    adapter: str | None
    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    top_logprobs: int = 0
    ignore_end: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """One chosen token. Log-probabilities are natural; they are not finite where the adapter is not.

    `finish` is set on the last token of a row: `stop` on the model's end token, `length` on the limit.
    """

    id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()
    finish: Finish | None = None


def tokens_to_make(wanted: int, *, prompt: int, context: int) -> int:
    """How many tokens may follow a prompt of so many tokens: what is wanted, or what the context has room for.

    Raises Unreadable if there is no room for one, or none is wanted.
    """
    if not 0 < prompt < context or wanted < 1:
        raise Unreadable(f"a prompt of {prompt} tokens leaves no room in a context of {context}")
    return min(wanted, context - prompt)


def likeliest(tokens: Iterable[tuple[int, float]], count: int) -> tuple[tuple[int, float], ...]:
    """The first `count` of tokens with their log-probabilities, likeliest first; of equals the smaller id first."""
    return tuple(sorted(tokens, key=lambda one: (-one[1], one[0]))[:count])
