"""One continuation of a prompt, token by token: what is asked of a decoder and what comes out of one step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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
