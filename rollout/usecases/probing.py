"""Does a loaded adapter do anything, and does its base still answer as before? Asked of a server, one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, isfinite

from rollout.core.suite import Golden
from rollout.errors import ServingUnavailable
from rollout.ports import Message, Serving, TokenLogprobs

_PROBES = 3
_PROBE_TOKENS = 8
_FLOOR = 0.01
"""Smallest difference in log-probability (nats) that counts as an effect: twice the noise of a bf16 batch."""
# At least 31 tokens for any tokenizer: shorter first requests have killed a server, and the first of all is slow.
_WARM_UP = (Message(role="user", content=" ".join("abcdefghijklmnopqrstuvwxyz" * 2)[:79]),)

Chat = Sequence[Message]
_Measure = Callable[[TokenLogprobs, TokenLogprobs], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What the probes of one adapter showed, in nats: the largest difference of a token's log-probability.

    `effect` is the adapter's against its base, `noise` the base's against itself, and `drift` the base's since
    before the adapter was loaded and asked.
    """

    effect: float
    noise: float
    drift: float

    def complaint(self, adapter: str) -> str | None:
        """Why that is no proof; None if it is one."""
        limit = max(_FLOOR, 3 * self.noise)
        if not isfinite(self.noise) or self.effect <= limit:
            return (
                f"{adapter} answers like the base model (effect {self.effect:.2g} nats, "
                f"noise {self.noise:.2g})"
            )
        if self.drift > limit:
            return (
                f"the base model answers otherwise since {adapter} is there ({self.drift:.2g} nats, "
                f"noise {self.noise:.2g}); restart the replica"
            )
        return None


def chats_of(golden: Golden) -> list[Chat]:
    """The first prompts of a suite: what the adapter was made to answer."""
    return [
        [Message(role=turn.role, content=turn.content) for turn in item.turns]
        for item in golden.items[:_PROBES]
    ]


def warm_up(replica: Serving, model: str) -> None:
    """One request that is long enough, so that what is measured next is not the first of all."""
    replica.logprobs(model, _WARM_UP, max_tokens=1)


def listen(replica: Serving, model: str, chats: Sequence[Chat]) -> list[TokenLogprobs]:
    """A model's answers to the probes. Raises ServingUnavailable, and LoadRefused for what is not finite."""
    return [replica.logprobs(model, chat, max_tokens=_PROBE_TOKENS) for chat in chats]


def probe(
    replica: Serving,
    base: str,
    adapter: str,
    chats: Sequence[Chat],
    *,
    before: Sequence[TokenLogprobs] | None,
) -> Probe:
    """Compare an adapter with its base, and the base with itself; `before` is how the base answered before the load."""
    warm_up(replica, adapter)
    first, again = (listen(replica, base, chats) for _ in range(2))
    adapted = listen(replica, adapter, chats)
    after = listen(replica, base, chats)
    return Probe(
        effect=_farthest(first, adapted, _difference),
        noise=_farthest(first, again, _difference),
        drift=_farthest(before or first, after, _slip),
    )


def _farthest(one: Sequence[TokenLogprobs], other: Sequence[TokenLogprobs], measure: _Measure) -> float:
    return max((measure(a, b) for a, b in zip(one, other, strict=True)), default=inf)


def _difference(one: TokenLogprobs, other: TokenLogprobs) -> float:
    """Largest difference of log-probability over the common prefix; infinite once the tokens differ."""
    return inf if _fork(one, other) is not None else _slip(one, other)


def _slip(one: TokenLogprobs, other: TokenLogprobs) -> float:
    """Largest difference up to the first token that differs, which two equally likely ones may do by noise alone."""
    if not one.tokens or not other.tokens:
        raise ServingUnavailable("the probe was answered with nothing")
    fork = _fork(one, other)
    until = None if fork is None else fork + 1
    pairs = zip(one.logprobs[:until], other.logprobs[:until], strict=False)
    return max(abs(here - there) for here, there in pairs)


def _fork(one: TokenLogprobs, other: TokenLogprobs) -> int | None:
    pairs = enumerate(zip(one.tokens, other.tokens, strict=False))
    return next((place for place, (here, there) in pairs if here != there), None)
