"""How probable an adapter finds the reference answer, and how far it is from another one on the way.

Not read from answers but from the log-probabilities of a fixed text (natural logarithms), token by token.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import exp, fsum, isfinite, log, nan
from typing import Protocol

from rollout.core.scorers.metric import Unit, less

METRICS = (
    less("nll", "surprise at the reference", Unit.NATS),
    less("perplexity", "perplexity of the reference", Unit.SCORE, limitless=True),
    less("kl_base", "distance from the base", Unit.NATS, absolute=True),
    less("kl_champion", "distance from the champion", Unit.NATS, absolute=True),
)

_LARGEST_NLL = 700.0  # beyond it, the perplexity is no finite number
# What is left over beside the listed tokens is known only as well as 32-bit logarithms add up to one.
_ROUNDING = 1e-6

Top = tuple[tuple[int, float], ...]
"""The likeliest tokens at one place, as (token id, log-probability)."""


class Reading(Protocol):
    """A fixed text as one side reads it: a log-probability for each token, and the likeliest tokens there.

    `top` is as long as `logprobs`, or empty where the engine cannot tell.
    """

    @property
    def logprobs(self) -> tuple[float, ...]:
        """Of the tokens that are there."""
        ...

    @property
    def top(self) -> tuple[Top, ...]:
        """Of the tokens that might be there."""
        ...


def score(
    reading: Reading, *, base: Reading | None = None, champion: Reading | None = None
) -> dict[str, float]:
    """The metrics of one side on one item; with another side's reading of the same text, the distance from it.

    What is not finite has no value, nor has a distance of readings that do not fit: the metric is left out.
    """
    others: Mapping[str, Reading | None] = {"kl_base": base, "kl_champion": champion}
    distances = {name: kl(reading, other) for name, other in others.items() if other is not None}
    return surprise(reading) | {name: value for name, value in distances.items() if value is not None}


def surprise(reading: Reading) -> dict[str, float]:
    """`nll`, the mean negative log-probability of a token, and `perplexity`, its exponential."""
    if not reading.logprobs or not all(isfinite(value) for value in reading.logprobs):
        return {}
    nll = -fsum(reading.logprobs) / len(reading.logprobs)
    return {"nll": nll, "perplexity": exp(nll)} if nll < _LARGEST_NLL else {"nll": nll}


def kl(one: Reading, other: Reading) -> float | None:
    """Kullback-Leibler divergence of `one` from `other`, in nats a token; None if it cannot be known.

    Taken over the tokens that both lists have, all others pooled into one. Pooling never makes a divergence larger
    (data processing inequality), so this is at most the true one.
    """
    if not one.top or len(one.top) != len(other.top) or len(one.logprobs) != len(other.logprobs):
        return None
    each = [_kl_at(dict(here), dict(there)) for here, there in zip(one.top, other.top, strict=True)]
    return fsum(each) / len(each) if all(isfinite(value) for value in each) else None


def _kl_at(one: Mapping[int, float], other: Mapping[int, float]) -> float:
    shared = [(_chance(one[token]), _chance(other[token])) for token in one.keys() & other.keys()]
    pairs = [(p, q) for p, q in shared if p != 0 and q != 0]
    pairs.append((_left(p for p, _ in pairs), _left(q for _, q in pairs)))
    return max(0.0, fsum(p * log(p / q) for p, q in pairs)) if all(p > 0 < q for p, q in pairs) else nan


def _chance(logprob: float) -> float:
    """The probability; NaN for what is no logarithm of one, but for its rounding."""
    return exp(min(logprob, 0.0)) if logprob <= _ROUNDING else nan


def _left(listed: Iterable[float]) -> float:
    return max(1 - fsum(listed), _ROUNDING)
