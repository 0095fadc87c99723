"""Reads fixed answers over vLLM's `prompt_logprobs`, in tokens: texts that look alike can be different tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from rollout.core.generation import likeliest
from rollout.errors import Unreadable, Unsupported
from rollout.integrations.openai.answers import Completion, Tokens
from rollout.integrations.openai.chats import NOT_FINITE, is_too_long, read
from rollout.integrations.openai.client import Client, Reply
from rollout.ports import Codec, Likelihood, LikelihoodRequest

_PATH: Final = "/v1/completions"
_ALTERNATIVES: Final = 20
_NOT_THERE: Final = frozenset({400, 404, 405, 422})


class Readings:
    """One server's readings. With a codec prompts are made here, else by the server's `/tokenize`."""

    def __init__(self, client: Client, codec: Codec | None) -> None:
        self._client = client
        self._codec = codec

    def read(self, request: LikelihoodRequest, model: str) -> Likelihood:
        """How a model reads a fixed answer. Raises Unsupported if the server cannot tell, Unreadable if it is too long."""
        prompt, answer = self._tokens(request, model)
        reply = self._client.ask(
            "POST",
            _PATH,
            {
                "model": model,
                "prompt": [*prompt, *answer],
                "max_tokens": 1,
                "temperature": 0,
                "prompt_logprobs": _ALTERNATIVES,
            },
        )
        if reply.status == 400 and NOT_FINITE in reply.text:
            return _likelihood(request, [math.nan] * len(answer), [])
        self._check(request, reply)
        places = read(self._client, Completion, reply.content, model).choices[0].prompt_logprobs
        if places is None:
            raise Unsupported("the server cannot read fixed answers: it knows no prompt_logprobs")
        tables = [
            {} if place is None else {token: entry.value for token, entry in place.items()}
            for place in places
        ]
        if len(tables) != len(prompt) + len(answer):
            raise self._client.unavailable("read another prompt than it was given")
        return self._reading(request, answer, tables[len(prompt) :])

    def _reading(
        self, request: LikelihoodRequest, answer: tuple[int, ...], tables: list[dict[int, float]]
    ) -> Likelihood:
        if not all(token in table for token, table in zip(answer, tables, strict=True)):
            raise self._client.unavailable("read other tokens than it was given")
        values = [table[token] for token, table in zip(answer, tables, strict=True)]
        return _likelihood(request, values, tables)

    def _check(self, request: LikelihoodRequest, reply: Reply) -> None:
        if is_too_long(reply):
            raise Unreadable(f"request {request.id}: {reply.text}")
        if reply.status in _NOT_THERE:
            raise Unsupported(f"the server cannot read fixed answers: {reply.status} {reply.text}")
        if reply.status != 200:
            raise self._client.unavailable(f"answered {reply.status}: {reply.text}")

    def _tokens(self, request: LikelihoodRequest, model: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        if self._codec is not None:
            prompt = self._codec.encode_chat(request.messages)
            return prompt, self._codec.encode_continuation(request.continuation)
        turns = [{"role": turn.role, "content": turn.content} for turn in request.messages]
        return (
            self._tokenize(request, {"model": model, "messages": turns, "add_generation_prompt": True}),
            self._tokenize(
                request, {"model": model, "prompt": request.continuation, "add_special_tokens": False}
            ),
        )

    def _tokenize(self, request: LikelihoodRequest, body: Mapping[str, Any]) -> tuple[int, ...]:
        reply = self._client.ask("POST", "/tokenize", body)
        self._check(request, reply)
        return tuple(read(self._client, Tokens, reply.content).tokens)


def _likelihood(
    request: LikelihoodRequest, values: list[float], tables: list[dict[int, float]]
) -> Likelihood:
    return Likelihood(
        id=request.id,
        adapter=request.adapter,
        logprobs=tuple(values),
        top=tuple(likeliest(table.items(), _ALTERNATIVES) for table in tables),
    )
