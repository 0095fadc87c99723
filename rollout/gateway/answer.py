"""Follows one answer while it passes: when it began, what text it carried, whether it broke off.

Nothing here delays a byte: chunks are kept as they are and read after they were sent on.
"""

from __future__ import annotations

import json
from typing import Any

from rollout.core.metric import ErrorClass

_LARGEST_TEXT = 1_000_000
_LARGEST_PENDING = 64 * 1024
_LARGEST_WHOLE = 8 * 1024 * 1024
_NOT_FINITE = b"out of range float values"


class AnswerReader:
    """Collects the text of the first choice, the usage and in-band errors of one upstream answer.

    `text` is what the model said, bounded to a million characters (`overlong` says that there was more).
    `first_token_at` and `last_token_at` are `time.perf_counter()` of the first and last event with a token.
    """

    def __init__(self) -> None:
        self.text_parts: list[str] = []
        self.streamed = False
        self.first_token_at: float | None = None
        self.last_token_at: float | None = None
        self.prompt_tokens: int | None = None
        self.finish_reason: str | None = None
        self.error_class: ErrorClass | None = None
        self.chars = 0
        self.overlong = False
        self.completion_tokens: int | None = None
        self.called_tools = False
        self.error: str | None = None
        self._status = 0
        self._readable = True
        self._finished = False
        self._spoke = False
        self._pending = bytearray()

    def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """The head of the answer."""
        self._status = status
        for key, value in headers:
            if key.lower() == b"content-type":
                self.streamed = value.lower().startswith(b"text/event-stream")
            if key.lower() == b"content-encoding" and value.lower() != b"identity":
                self._readable = False

    def feed(self, chunk: bytes) -> None:
        """A part of the body, after it was sent on."""
        if not self._readable:
            return
        self._pending += chunk
        if self.streamed and len(self._pending) > _LARGEST_PENDING:
            self._read_events(last=False)
        if len(self._pending) > _LARGEST_WHOLE:
            self._readable, self.overlong = False, True
            self._pending.clear()

    def finish(self) -> None:
        """The end of the body, as the upstream meant it."""
        if not self._readable:
            return
        if self.streamed:
            self._read_events(last=True)
            if not self._finished and self.error is None:
                self.error = "the stream ended without its last event"
            self._require_an_answer()
        elif 200 <= self._status <= 299:
            self._read_object(bytes(self._pending))
            if not self._finished:
                self.error = "the answer is not JSON"
            self._require_an_answer()
        elif self._status == 400 and _NOT_FINITE in self._pending.lower():
            # vLLM answers 400 to a client that did nothing wrong when an adapter computes NaN.
            self.error = "the adapter's values are not finite"
        self._pending.clear()

    @property
    def complete(self) -> bool:
        """Whether the answer's own last event was seen, or the whole of its JSON."""
        return self._finished

    @property
    def text(self) -> str | None:
        """What the model said; None if nothing could be read or it called tools instead."""
        if not self._readable or (self.called_tools and not self.text_parts):
            return None
        return "".join(self.text_parts)

    def _require_an_answer(self) -> None:
        # A proxy's greeting or an error in a form of its own, with the status of a success.
        if not self._spoke and self.error is None:
            self.error = "the answer holds no choice"

    def _read_events(self, *, last: bool) -> None:
        lines = bytes(self._pending).split(b"\n")
        self._pending = bytearray() if last else bytearray(lines.pop())
        for line in lines:
            if line.startswith(b"data:"):
                data = line[5:].strip()
                if data == b"[DONE]":
                    self._finished = True
                else:
                    self._read_object(data, event=True)

    def _read_object(self, data: bytes, *, event: bool = False) -> None:
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            return
        if not isinstance(value, dict):
            return
        kind = value.get("type")
        if not event or kind in ("response.completed", "response.incomplete"):
            self._finished = True
        self._spoke = self._spoke or _holds_an_answer(value)
        if value.get("error"):
            self.error = "the engine reported an error inside its answer"
        self._read_usage(value.get("usage"))
        choices = value.get("choices")
        if isinstance(choices, list):
            for choice in choices:
                if isinstance(choice, dict) and choice.get("index", 0) == 0:
                    self._read_choice(choice)

    def _read_choice(self, choice: dict[str, Any]) -> None:
        spoken = choice.get("delta") or choice.get("message") or choice
        if not isinstance(spoken, dict):
            return
        if spoken.get("tool_calls") or spoken.get("function_call"):
            self.called_tools = True
        text = spoken.get("content") if spoken is not choice else choice.get("text")
        if isinstance(text, str) and text:
            self.chars += len(text)
            if self.chars > _LARGEST_TEXT:
                self.overlong = True
            else:
                self.text_parts.append(text)

    def _read_usage(self, usage: object) -> None:
        tokens = usage.get("completion_tokens") if isinstance(usage, dict) else None
        if isinstance(tokens, int) and 0 <= tokens < 2**31:
            self.completion_tokens = int(tokens)


def _holds_an_answer(value: dict[str, Any]) -> bool:
    """Whether an object, or an event, is part of an answer in one of OpenAI's forms."""
    if str(value.get("type")).startswith("response.output"):
        return True
    return any(isinstance(value.get(part), list) and value[part] for part in ("choices", "data", "output"))
