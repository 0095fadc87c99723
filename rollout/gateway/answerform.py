"""OpenAI's forms of answers and of their events, as far as someone must read them who watches them pass.

Only what is used is decoded, and leaves may be of any type: what passes is written by an engine that nobody here
controls.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec


class Said(msgspec.Struct):
    """A `message`, or the `delta` of one."""

    content: Any = None
    refusal: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    tool_calls: Any = None
    function_call: Any = None


class Choice(msgspec.Struct):
    """One of the answers to one question; `text` is of `/v1/completions`."""

    index: Any = 0
    delta: Said | None = None
    message: Said | None = None
    text: Any = None
    finish_reason: Any = None


class Usage(msgspec.Struct):
    """Tokens, under either of OpenAI's pairs of names."""

    prompt_tokens: Any = None
    completion_tokens: Any = None
    input_tokens: Any = None
    output_tokens: Any = None


class Part(msgspec.Struct):
    """An item of a `/v1/responses` output, or a part of its content."""

    type: Any = None
    text: Any = None
    refusal: Any = None
    content: Any = None


class Response(msgspec.Struct):
    """The whole of a `/v1/responses` answer, as its first and its last event have it."""

    model: Any = None
    output: list[Part] | None = None
    usage: Usage | None = None
    status: Any = None
    incomplete_details: Any = None
    error: Any = None


class Answer(msgspec.Struct):
    """A whole answer, or one event of a streamed one: all the forms at once."""

    type: Any = None
    model: Any = None
    choices: list[Choice] | None = None
    data: msgspec.Raw | None = None  # embeddings: long, and of no use here
    output: list[Part] | None = None
    usage: Usage | None = None
    error: Any = None
    status: Any = None
    incomplete_details: Any = None
    delta: Any = None
    item: Any = None
    response: Response | None = None

    @property
    def models(self) -> tuple[object, ...]:
        """What is said of the model that answers, for the most part by one member only; None where nothing is."""
        return self.model, None if self.response is None else self.response.model

    @property
    def holds_data(self) -> bool:
        """Whether there is a list of embeddings that is not empty."""
        start = b"" if self.data is None else bytes(memoryview(self.data)[:64])
        return start.startswith(b"[") and not start[1:].lstrip().startswith(b"]")


_HEAD = 4096
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[][{}:,]', re.DOTALL)
_ANSWER = msgspec.json.Decoder(Answer)
_FIELDS = {field.name: field.type for field in msgspec.structs.fields(Answer) if field.name != "data"}


def read_answer(data: bytes) -> Answer | None:
    """The object that `data` is; None if it is none. Parts that have another form than OpenAI's are left out."""
    try:
        return _ANSWER.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return _forgiving(data)


def read_head(data: bytes | bytearray) -> Answer:
    """What the first 4 KiB of an object that is too long to be read say of its model, and no more."""
    depth, before = 0, (b"", b"")
    for token in _TOKEN.findall(bytes(data[:_HEAD])):
        if depth == 1 and before == (b'"model"', b":"):
            return read_answer(b'{"model":%b}' % token) or Answer()
        depth += (token in b"[{") - (token in b"]}")
        before = (before[1], token)
    return Answer()


def text_of(content: object) -> str | None:
    """The text of a `content`: a string, or a list of parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return None
    texts = [part.get("text", part.get("refusal")) for part in content if isinstance(part, dict)]
    return "".join(text for text in texts if isinstance(text, str))


def _forgiving(data: bytes) -> Answer | None:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    found = Answer()
    for name, kind in _FIELDS.items():
        try:
            setattr(found, name, msgspec.convert(value.get(name), kind))
        except (msgspec.ValidationError, RecursionError):
            continue
    if isinstance(value.get("data"), list):
        found.data = msgspec.Raw(b"[0]" if value["data"] else b"[]")
    return found
