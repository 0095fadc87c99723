"""What one answer says: its text, its tokens, how it ended, and what is wrong with it."""

from __future__ import annotations

import time

from rollout.core.metric import ErrorClass
from rollout.core.plain import plain
from rollout.gateway.answerform import Answer, Choice, Part, Usage, text_of

_LARGEST_TEXT = 1_000_000
NOT_FINITE = b"out of range float values"
_FINISHED = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "completed": "stop",
    "max_output_tokens": "length",
}
FINISH_REASONS = (*dict.fromkeys(_FINISHED.values()), "other")
"""Why an answer ended; whatever else an engine says is `other`."""
_LAST_EVENTS = ("response.completed", "response.incomplete", "response.failed")
_REASONING = ("response.reasoning_text.delta", "response.reasoning_summary_text.delta")
_TOOLS = ("function_call", "mcp_call", "custom_tool_call")


class Transcript:
    """Takes an answer, whole or event by event, in any of OpenAI's forms; of several choices the first.

    `text` is what the model said, bounded to a million characters (`overlong` says that there was more).
    `first_token_at` and `last_token_at` are `time.perf_counter()` of the first and last event with a token, which
    only a streamed answer has. `finish_reason` is one of `FINISH_REASONS`. An answer that says that it is of another
    model than was `asked` is an error, in whichever of its events it says so; one that does not say it is none.
    """

    def __init__(self, asked: str | None = None) -> None:
        self._asked = asked
        self.text_parts: list[str] = []
        self.first_token_at: float | None = None
        self.last_token_at: float | None = None
        self.prompt_tokens: int | None = None
        self.completion_tokens: int | None = None
        self.finish_reason: str | None = None
        self.chars = 0
        self.overlong = False
        self.called_tools = False
        self.error: str | None = None
        self.error_class: ErrorClass | None = None
        self._finished = False
        self._spoke = False
        self._textual = False
        self._token_events = 0

    @property
    def complete(self) -> bool:
        """Whether the answer's own last event was seen, or the whole of its JSON."""
        return self._finished

    @property
    def text(self) -> str | None:
        """What the model said; None if it called tools instead, or if the answer is no text at all."""
        if not self._textual or (self.called_tools and not self.text_parts):
            return None
        return "".join(self.text_parts)

    @property
    def inter_token_s(self) -> float | None:
        """Mean seconds between tokens; between events that carried some where the engine does not count tokens."""
        if self.first_token_at is None or self.last_token_at is None:
            return None
        tokens = self._token_events if self.completion_tokens is None else self.completion_tokens
        return (self.last_token_at - self.first_token_at) / (tokens - 1) if tokens > 1 else None

    def take_event(self, event: Answer, data: bytes) -> None:
        """One event of a streamed answer, and the bytes that it was read from."""
        before = self._token_events
        self._read_common(event, data)
        if event.type is not None:
            self._read_typed(event, data)
        if self._token_events > before:
            self._token_events = before + 1
            self.last_token_at = time.perf_counter()
            if self.first_token_at is None:
                self.first_token_at = self.last_token_at

    def take_whole(self, answer: Answer, data: bytes) -> None:
        """An answer that came in one piece."""
        self._finished = True
        self._read_common(answer, data)
        self._read_output(answer.output)
        self._read_status(answer.status, answer.incomplete_details)

    def take_end(self) -> None:
        """No more events will come."""
        self._finished = True

    def take_model(self, answer: Answer) -> None:
        """Which model an answer, or one event of it, says that it is of."""
        for named in answer.models if self._asked is not None else ():
            if named not in (None, "", self._asked):
                shown = plain(named, 200, nothing="no name") if isinstance(named, str) else "no name"
                self.fail(f"the answer is of another model: {shown}", ErrorClass.WRONG_MODEL)

    def require_an_answer(self) -> None:
        """Call it an error if nothing that was taken was an answer."""
        # A proxy's greeting or an error in a form of its own, with the status of a success.
        if not self._spoke:
            self.fail("the answer holds no choice", ErrorClass.UNREADABLE)

    def fail(self, error: str, kind: ErrorClass) -> None:
        """Say what is wrong, unless something was before."""
        if self.error is None:
            self.error, self.error_class = error, kind

    def _read_common(self, answer: Answer, data: bytes) -> None:
        """What stands at the same place in a whole answer and in an event."""
        if answer.error:
            self._fail_in_band(data)
        self.take_model(answer)
        if answer.usage is not None:
            self._read_usage(answer.usage)
        if answer.choices:
            self._spoke = self._textual = True
            for choice in answer.choices:
                if choice.index == 0 or choice.index is None:
                    self._read_choice(choice)
        elif answer.holds_data:
            self._spoke = True

    def _read_choice(self, choice: Choice) -> None:
        if choice.finish_reason is not None:
            self._finish_as(choice.finish_reason)
        said = choice.delta or choice.message
        if said is None:
            self._say(text_of(choice.text))
            return
        if said.tool_calls or said.function_call:
            self.called_tools = True
            self._token_events += 1
        self._say(text_of(said.content) or text_of(said.refusal))
        if _is_text(said.reasoning_content) or _is_text(said.reasoning):
            self._token_events += 1

    def _read_typed(self, event: Answer, data: bytes) -> None:
        """An event of `/v1/responses`."""
        kind = str(event.type)
        if kind.startswith("response.output"):
            self._spoke = self._textual = True
        if kind in ("response.output_text.delta", "response.refusal.delta"):
            self._spoke = self._textual = True
            self._say(text_of(event.delta))
        elif kind in _REASONING or (kind.endswith("_call_arguments.delta") and event.delta):
            self._token_events += 1
        elif kind == "response.output_item.added" and isinstance(event.item, dict):
            self.called_tools = self.called_tools or event.item.get("type") in _TOOLS
        elif kind == "error" or kind == "response.failed":
            self._fail_in_band(data)
        if kind in _LAST_EVENTS:
            self._finished = True
            self._read_last(event)

    def _read_last(self, event: Answer) -> None:
        response = event.response
        if response is None:
            return
        if response.usage is not None:
            self._read_usage(response.usage)
        if not self.text_parts and not self.overlong:
            self._read_output(response.output)
        self._read_status(response.status, response.incomplete_details)

    def _read_output(self, output: list[Part] | None) -> None:
        for part in output or ():
            self._spoke = self._textual = True
            if part.type in _TOOLS:
                self.called_tools = True
            elif part.type in ("message", None):
                self._say(text_of(part.content))

    def _read_status(self, status: object, details: object) -> None:
        """How an answer of `/v1/responses` ended."""
        if status == "failed":
            self.fail("the engine reported an error inside its answer", ErrorClass.IN_BAND)
        elif status == "incomplete":
            self._finish_as(details.get("reason") if isinstance(details, dict) else None)
        elif status == "completed":
            self._finish_as("tool_calls" if self.called_tools else status)

    def _read_usage(self, usage: Usage) -> None:
        self.prompt_tokens = _tokens(usage.prompt_tokens, usage.input_tokens, self.prompt_tokens)
        self.completion_tokens = _tokens(usage.completion_tokens, usage.output_tokens, self.completion_tokens)

    def _say(self, text: str | None) -> None:
        if not text:
            return
        self._token_events += 1
        self.chars += len(text)
        if self.chars > _LARGEST_TEXT:
            self.overlong = True
        else:
            self.text_parts.append(text)

    def _finish_as(self, reason: object) -> None:
        self.finish_reason = _FINISHED.get(reason, "other") if isinstance(reason, str) else "other"

    def _fail_in_band(self, data: bytes) -> None:
        if NOT_FINITE in data.lower():
            self.fail("the adapter's values are not finite", ErrorClass.NOT_FINITE)
        else:
            self.fail("the engine reported an error inside its answer", ErrorClass.IN_BAND)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _tokens(*numbers: object) -> int | None:
    """The first that is a number of tokens."""
    for number in numbers:
        if isinstance(number, int) and not isinstance(number, bool) and 0 <= number < 2**31:
            return number
    return None
