"""One request on its way to one adapter and back: forwarded byte for byte, timed, and recorded once it is over."""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import dataclass

from rollout.core.flag import Slot
from rollout.core.metric import RequestRecord
from rollout.gateway.answer import AnswerReader
from rollout.gateway.openai import App, Message, Receive, Scope, Send
from rollout.gateway.routes import LiveRoute
from rollout.gateway.telemetry import Telemetry

FAILURE = "rollout.failure"
"""Key of an ASGI start message by which our own upstream says that no engine answered, and why."""

CLIENT_LEFT = 499
NO_ANSWER = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Where one request goes, and why; made once a request."""

    live: LiveRoute
    served: str
    slot: Slot
    flag_version: int | None
    reason: str
    key: str | None


class Passage:
    """Carries one request through `app`. `pair` makes it a shadow copy of the request of that id."""

    def __init__(self, choice: Choice, telemetry: Telemetry, *, pair: str | None = None) -> None:
        self.id = uuid.uuid4().hex
        self.choice = choice
        self.status = NO_ANSWER
        self._telemetry = telemetry
        self._pair = pair
        self._reader = AnswerReader()
        self._failure: str | None = None
        self._started = self._finished = self._left = False
        self._first_byte_ms: float | None = None
        self._latency_ms: float | None = None
        self._routed_at = telemetry.begin(choice.served, shadow=pair is not None)
        self._begun = time.perf_counter()

    async def run(self, app: App, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        """Ask `app` and pass its answer on. Whatever happens is noted for `record`, and raised."""
        given = False

        async def give() -> Message:
            nonlocal given
            if not given:
                given = True
                return {"type": "http.request", "body": body, "more_body": False}
            message = await receive()
            if message["type"] == "http.disconnect" and not self._finished:
                self._left = True
            return message

        async def take(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(self._head(message))
            elif message["type"] == "http.response.body":
                await self._body(message, send)
            else:
                await send(message)

        try:
            await app(scope, give, take)
        except asyncio.CancelledError:
            self._left = self._left or self._pair is not None
            self._failure = self._failure or "the gateway stopped"
            raise
        except Exception as error:
            self._failure = self._failure or f"the engine raised {type(error).__name__}"
            raise
        finally:
            self._settle()

    def record(self, *, mirrored: bool = False) -> None:
        """Leave the row of this request. To be called once, when `run` is over."""
        left = self._left
        error = None if left else self._error()
        live = self.choice.live
        self._telemetry.end(
            RequestRecord(
                request_id=self.id,
                name=live.name,
                served=self.choice.served,
                slot=self.choice.slot.value,
                shadow=self._pair is not None,
                mirrored=mirrored,
                pair=self._pair,
                keyed=self.choice.key is not None,
                key_hash=self._telemetry.hash_key(self.choice.key),
                flag_version=self.choice.flag_version,
                flag_reason=self.choice.reason,
                routed_at=self._routed_at,
                first_byte_ms=self._first_byte_ms,
                latency_ms=self._latency_ms if self._latency_ms is not None else self._elapsed_ms(),
                status=CLIENT_LEFT if left else self.status,
                error=error,
                format_valid=None if left or error else self._format_valid(),
                completion_tokens=self._reader.completion_tokens,
                output_chars=self._reader.chars,
            )
        )

    @property
    def answered(self) -> bool:
        """Whether an engine gave a complete answer."""
        return self._finished and self._failure is None

    def timed_out(self) -> None:
        """A copy was given up: unlike a user who leaves, that is the candidate's failure."""
        self._left = False
        self._failure = "no answer in time"
        self.status = NO_ANSWER

    def _head(self, message: Message) -> Message:
        self._started = True
        self._failure = message.get(FAILURE)
        self.status = NO_ANSWER if self._failure else message["status"]
        headers = [
            (key, value) for key, value in message.get("headers", ()) if not key.startswith(b"x-rollout-")
        ]
        self._reader.start(message["status"], headers)
        headers += [
            (b"x-rollout-adapter", self.choice.served.encode()),
            (b"x-rollout-slot", self.choice.slot.value.encode()),
            (b"x-rollout-request", self.id.encode()),
        ]
        kept = {key: value for key, value in message.items() if key != FAILURE}
        return {**kept, "headers": headers}

    async def _body(self, message: Message, send: Send) -> None:
        chunk = message.get("body", b"")
        if chunk and self._first_byte_ms is None:
            self._first_byte_ms = self._elapsed_ms()
        await send(message)
        if chunk:
            self._reader.feed(chunk)
        if not message.get("more_body", False) and not self._finished:
            self._finished = True
            self._latency_ms = self._elapsed_ms()
            self._reader.finish()

    def _settle(self) -> None:
        if self._started and not self._finished:
            self._reader.finish()
            if self._left and self._reader.complete:
                # It has read the last event and hung up, as some client libraries do: nothing was lost.
                self._finished, self._left = True, False
                self._latency_ms = self._elapsed_ms()

    def _error(self) -> str | None:
        if self._failure:
            return self._failure
        if not self._started:
            return "no answer"
        if not self._finished:
            return "the answer broke off"
        if self.status == CLIENT_LEFT:
            return "the engine says that its client left"  # it is still here: this is no answer
        return self._reader.error

    def _format_valid(self) -> bool | None:
        check = self.choice.live.check
        if check is None or not 200 <= self.status <= 299:
            return None
        if self._reader.overlong:
            return False
        text = self._reader.text
        return None if text is None else check(text)

    def _elapsed_ms(self) -> float:
        return (time.perf_counter() - self._begun) * 1000
