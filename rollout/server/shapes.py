"""Answers in OpenAI's forms: completions and chat, whole and in chunks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

from rollout.core.generation import Token
from rollout.server.decoder import Codec
from rollout.server.errors import bad_request
from rollout.server.rows import Choice

Document = dict[str, Any]


class Shape(Protocol):
    """The form of one kind of answer."""

    prefix: str
    whole_object: str
    chunk_object: str

    def whole(self, choice: Choice) -> Document:
        """A finished choice."""
        ...

    def opening(self, choice: Choice, /) -> Document | None:
        """What a stream begins a choice with, if anything."""
        ...

    def chunk(self, choice: Choice, text: str) -> Document | None:
        """What the last token added to a choice; None if there is nothing to tell."""
        ...


class TokenNames:
    """How tokens are written in log-probabilities: as text, or (two tokens can look alike) as `token_id:N`."""

    def __init__(self, codec: Codec, *, as_ids: bool) -> None:
        self._codec = codec
        self._as_ids = as_ids

    def __call__(self, token: int) -> str:
        return f"token_id:{token}" if self._as_ids else self._codec.token_text(token)


def reading(tokens: Sequence[Token], codec: Codec) -> list[Document | None]:
    """How a prompt was read, in vLLM's form: nothing for the first token, then by token id, likeliest first.

    Raises Refusal if a value is not finite.
    """
    places: list[Document | None] = [None]
    for token in tokens:
        ranked: dict[int, tuple[float, int | None]] = {
            id_: (value, rank) for rank, (id_, value) in enumerate(token.top, start=1)
        }
        ranked.setdefault(token.id, (token.logprob, None))
        entries: Document = {
            str(id_): {"logprob": value, "rank": rank, "decoded_token": codec.token_text(id_)}
            for id_, (value, rank) in ranked.items()
        }
        places.append(_finite(entries))
    return places


class CompletionShape:
    """`/v1/completions`. `alternatives` is the number of other tokens to name, None for no log-probabilities;
    `readings` are those of the prompts, where they were asked for."""

    prefix = "cmpl"
    whole_object = chunk_object = "text_completion"

    def __init__(
        self,
        names: TokenNames,
        alternatives: int | None,
        readings: Sequence[Sequence[Document | None]] | None = None,
    ) -> None:
        self._names = names
        self._alternatives = alternatives
        self._readings = readings

    def whole(self, choice: Choice) -> Document:
        """A finished choice."""
        logprobs = self._logprobs(choice.tokens, choice.offsets)
        content: Document = {"text": choice.text}
        if self._readings is not None:
            content["prompt_logprobs"] = self._readings[choice.index]
        return _choice(choice, content, _finite(logprobs))

    def opening(self, _choice: Choice, /) -> Document | None:
        """Nothing."""
        return None

    def chunk(self, choice: Choice, text: str) -> Document | None:
        """The text and the log-probability of the last token."""
        logprobs = self._logprobs(choice.tokens[-1:], choice.offsets[-1:])
        if not text and logprobs is None and choice.finish is None:
            return None
        return _choice(choice, {"text": text}, _without_bad_values(logprobs))

    def _logprobs(self, tokens: list[Token], offsets: list[int]) -> Document | None:
        if self._alternatives is None:
            return None
        names = [self._names(token.id) for token in tokens]
        tops = [
            {self._names(other): value for other, value in token.top} | {name: token.logprob}
            for name, token in zip(names, tokens, strict=True)
        ]
        return {
            "text_offset": list(offsets),
            "token_logprobs": [token.logprob for token in tokens],
            "tokens": names,
            "top_logprobs": tops,
        }


class ChatShape:
    """`/v1/chat/completions`."""

    prefix = "chatcmpl"
    whole_object = "chat.completion"
    chunk_object = "chat.completion.chunk"

    def __init__(self, names: TokenNames, *, logprobs: bool) -> None:
        self._names = names
        self._wanted = logprobs

    def whole(self, choice: Choice) -> Document:
        """A finished choice."""
        message = {"role": "assistant", "content": choice.text}
        return _choice(choice, {"message": message}, _finite(self._logprobs(choice.tokens)))

    def opening(self, choice: Choice, /) -> Document | None:
        """The role."""
        return _choice(choice, {"delta": {"role": "assistant", "content": ""}}, None)

    def chunk(self, choice: Choice, text: str) -> Document | None:
        """The text and the log-probability of the last token."""
        logprobs = self._logprobs(choice.tokens[-1:])
        if not text and logprobs is None and choice.finish is None:
            return None
        delta = {"content": text} if text else {}
        return _choice(choice, {"delta": delta}, _without_bad_values(logprobs))

    def _logprobs(self, tokens: list[Token]) -> Document | None:
        if not self._wanted:
            return None
        content = []
        for token in tokens:
            top = [self._entry(other, value) for other, value in token.top]
            content.append(self._entry(token.id, token.logprob) | {"top_logprobs": top})
        return {"content": content}

    def _entry(self, token: int, logprob: float) -> Document:
        name = self._names(token)
        return {"token": name, "logprob": logprob, "bytes": list(name.encode())}


def _choice(choice: Choice, content: Document, logprobs: Document | None) -> Document:
    return {"index": choice.index, **content, "logprobs": logprobs, "finish_reason": choice.finish}


def _finite(document: Document | None) -> Document | None:
    """vLLM's answer to a broken adapter: not a number cannot be written as JSON, so the request fails."""
    if document is not None and document != _without_bad_values(document):
        raise bad_request("Out of range float values are not JSON compliant")
    return document


def _without_bad_values(value: Any) -> Any:
    match value:
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {key: _without_bad_values(entry) for key, entry in value.items()}
        case list():
            return [_without_bad_values(entry) for entry in value]
        case _:
            return value
