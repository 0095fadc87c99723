"""Answers to conversations over `/v1/chat/completions`, whole or as a stream that tells when the first token came."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from rollout.errors import RolloutError, Unreadable, Unsupported
from rollout.integrations.openai.answers import Chat, Chunk, Counts, values_of
from rollout.integrations.openai.client import Client, Reply
from rollout.ports import Generation, GenerationRequest, TimedGeneration

NOT_FINITE: Final = "Out of range float values"
_PATH: Final = "/v1/chat/completions"
_TOO_LONG: Final = "context length"
_ENDS: Final = frozenset({"stop", "length"})
_Document = TypeVar("_Document", bound=BaseModel)


class Chats:
    """One server's chat completions. Safe to use from several threads."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def answer(self, request: GenerationRequest, model: str) -> Generation:
        """One answer. Raises Unreadable if the server refuses the request, Unsupported without log-probabilities."""
        body = _body(request, model)
        reply = self._client.ask("POST", _PATH, body)
        if is_too_long(
            reply
        ):  # with as many tokens as were asked for; the rest of the context is the limit then
            del body["max_tokens"]
            reply = self._client.ask("POST", _PATH, body)
        if reply.status == 400 and NOT_FINITE in reply.text:
            return _broken(request)
        if reply.status != 200:
            raise refusal(self._client, request.id, reply)
        chat = read(self._client, Chat, reply.content, model)
        choice = chat.choices[0]
        return self._generation(
            request,
            choice.message.content or "",
            values_of(choice.logprobs),
            chat.usage,
            choice.finish_reason,
        )

    def timed(self, request: GenerationRequest, model: str) -> TimedGeneration:
        """One answer, streamed and timed from sending it to its end."""
        body = _body(request, model) | {"stream": True, "stream_options": {"include_usage": True}}
        try:
            return self._streamed(request, model, body)
        except _TooLong:
            del body["max_tokens"]
            return self._streamed(request, model, body)

    def _streamed(self, request: GenerationRequest, model: str, body: dict[str, Any]) -> TimedGeneration:
        started, first = time.perf_counter(), None
        text, values, finish, counts = "", list[float](), None, None
        with self._client.stream(_PATH, body) as events:
            if isinstance(events, Reply):
                too_long = is_too_long(events) and "max_tokens" in body
                raise _TooLong() if too_long else refusal(self._client, request.id, events)
            for chunk in self._chunks(events, model):
                counts = chunk.usage or counts
                for choice in chunk.choices:
                    made = values_of(choice.logprobs)
                    text, values = text + (choice.delta.content or ""), values + made
                    finish = choice.finish_reason or finish
                    if first is None and (made or choice.delta.content):
                        first = time.perf_counter() - started
        seconds = time.perf_counter() - started
        counts = counts or Counts(prompt_tokens=0, completion_tokens=len(values))
        generation = self._generation(request, text, values, counts, finish)
        return TimedGeneration(generation=generation, seconds=seconds, first_token_s=first)

    def _chunks(self, events: Iterator[dict[str, Any]], model: str) -> Iterator[Chunk]:
        for event in events:
            try:
                chunk = Chunk.model_validate(event)
            except ValidationError as error:
                raise self._client.unavailable("streams in a form that is not OpenAI's") from error
            check_model(self._client, chunk.model, model)
            yield chunk

    def _generation(
        self, request: GenerationRequest, text: str, values: list[float], counts: Counts, finish: str | None
    ) -> Generation:
        if finish not in _ENDS:
            raise self._client.unavailable(f"ended answer {request.id} because of {finish!r:.40}")
        if not values:
            raise Unsupported(
                "the server gives no log-probabilities, and without them nobody can tell whether its values are finite"
            )
        return Generation(
            id=request.id,
            adapter=request.adapter,
            text=text,
            prompt_tokens=counts.prompt_tokens,
            completion_tokens=counts.completion_tokens,
            finish_reason=finish,
            logprob_sum=math.fsum(values) if all(map(math.isfinite, values)) else math.nan,
        )


def read(client: Client, kind: type[_Document], content: bytes, model: str | None = None) -> _Document:
    """An answer as a document. Raises ServingUnavailable if it has another form, or is another model's."""
    try:
        document = kind.model_validate_json(content)
    except ValidationError as error:
        raise client.unavailable("answers in a form that is not OpenAI's") from error
    if model is not None:
        check_model(client, str(getattr(document, "model", "")), model)
    return document


def check_model(client: Client, answered: str, asked: str) -> None:
    """Raise ServingUnavailable if another model answered than was asked: some servers put in their base."""
    if answered != asked:
        raise client.unavailable(f"answered as {answered[:100]!r} when asked as {asked!r}")


def is_too_long(reply: Reply) -> bool:
    """Whether the context has no room for what was asked."""
    return reply.status in (400, 413, 422) and _TOO_LONG in reply.text


def refusal(client: Client, id_: str, reply: Reply) -> RolloutError:
    """What a reply that is no answer means: a request that will be refused again, or a server that is not ready."""
    if reply.status in (400, 413, 422):
        return Unreadable(f"request {id_}: the server refuses it: {reply.text}")
    return client.unavailable(f"answered {reply.status}: {reply.text}")


class _TooLong(Exception):
    pass


def _body(request: GenerationRequest, model: str) -> dict[str, Any]:
    return {
        "model": model,
        "messages": [{"role": turn.role, "content": turn.content} for turn in request.messages],
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "top_p": 1,
        "seed": request.seed,
        "logprobs": True,
    }


def _broken(request: GenerationRequest) -> Generation:
    """Values that are not finite cannot be written as JSON: the server has nothing else to say."""
    return Generation(
        id=request.id,
        adapter=request.adapter,
        text="",
        prompt_tokens=0,
        completion_tokens=0,
        finish_reason="length",
        logprob_sum=math.nan,
    )
