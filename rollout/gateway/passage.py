"""One request on its way to one adapter and back: forwarded byte for byte, timed, and recorded once it is over."""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import dataclass
from typing import Protocol

from rollout.core.flag import Slot
from rollout.core.metric import ErrorClass, NotCopied, RequestRecord
from rollout.gateway.answer import AnswerReader
from rollout.gateway.openai import App, InferenceRequest, Message, Receive, Scope, Send, local_path
from rollout.gateway.restoring import ModelRestorer
from rollout.gateway.routes import LiveRoute
from rollout.gateway.spoken import Spoken

FAILURE = "rollout.failure"
"""Key of an ASGI start message by which our own upstream says that no engine answered, and why."""
TIMED_OUT = "rollout.timed_out"
"""Key beside `FAILURE`: true if it was silence."""
REPLICA = "rollout.replica"
"""Key of an ASGI start message: the name of the replica that answers."""
COLD = "rollout.cold"
"""Key beside `REPLICA`: true if that replica has not answered for this adapter before."""
NOT_LOADED = "rollout.not_loaded"
"""Key of an ASGI start message: true if this 404 says that the adapter is not there, and no replica is left to ask."""
_OURS = frozenset({NOT_LOADED, FAILURE, TIMED_OUT, REPLICA, COLD})
SERVED = "rollout.served"
"""Key of the ASGI scope by which our own upstream knows the adapter that is asked, without reading the body."""

CLIENT_LEFT = 499
NO_ANSWER = 0
_NOT_FOUND = 404
_TOLD_BYTES = 4096
_PATIENCE_S = 1.0
_LETTERS_A_TOKEN = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Where one request goes, and why; made once a request."""

    live: LiveRoute
    served: str
    slot: Slot
    flag_version: int | None
    reason: str
    key: str | None
    conversation: str | None = None
    pinned: bool = False


class Account(Protocol):
    """Whoever is told of requests: the gateway's telemetry, or what replays a record."""

    def begin(self, served: str, *, shadow: bool) -> float:
        """A request goes to `served`; the answer is its Unix time."""
        ...

    def has_answered(self, served: str) -> bool:
        """Whether an adapter has given a good answer before."""
        ...

    def hash_key(self, key: str | None) -> str | None:
        """A sticky key as it may be recorded."""
        ...

    def end(self, record: RequestRecord, spoken: Spoken | None = None) -> None:
        """A request is over."""
        ...


class Passage:
    """Carries one request through `app`, once.

    `pair` makes it a shadow copy of the request of that id; `retry_of` makes it stable's answer in the place of
    the candidate's failure of that id.
    """

    def __init__(
        self,
        choice: Choice,
        request: InferenceRequest,
        telemetry: Account,
        *,
        pair: str | None = None,
        retry_of: str | None = None,
        restore: bool = False,
    ) -> None:
        self.id = uuid.uuid4().hex
        self.choice = choice
        self.request = request
        self.status = NO_ANSWER
        self.withheld = False
        """Whether the candidate failed before its first byte, and the client was told nothing of it."""
        self.not_copied: NotCopied | None = None
        """Why no shadow copy was made of it, though the sample wanted one."""
        self._telemetry = telemetry
        self._pair = pair
        self._retry_of = retry_of
        self._restorer = ModelRestorer(choice.served, choice.live.name) if restore else None
        self._forgiving = False
        self._kept: list[Message] = []
        """What is not sent on yet: a 404 that may mean the adapter, a whole answer whose length will be another one."""
        self._told = b""
        self._lacking = False
        self._reader = AnswerReader(choice.served)
        self._failure: str | None = None
        self._failure_class: ErrorClass | None = None
        self._replica: str | None = None
        self._cold = False
        self.path = ""
        self._started = self._finished = self._left = False
        self._first_byte_ms: float | None = None
        self._latency_ms: float | None = None
        self._routed_at = telemetry.begin(choice.served, shadow=pair is not None)
        self._begun = time.perf_counter()

    async def run(
        self, app: App, scope: Scope, body: bytes, receive: Receive, send: Send, *, forgiving: bool = False
    ) -> None:
        """Ask `app` and pass its answer on. Whatever happens is noted for `record`, and raised.

        `forgiving` withholds a failure that comes before the first byte: nothing was sent then, and `withheld` is
        true.
        """
        self.path = local_path(scope)
        self._forgiving = forgiving
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
            match message["type"]:
                case "http.response.start":
                    head = self._head(message)
                    self.withheld = forgiving and self._failed_at_once()
                    await self._pass_on(head, send)
                case "http.response.body":
                    await self._body(message, send)
                case _:
                    await send(message)
            if self.withheld and deadline.when() is None:
                # The failure is known: nobody waits for the rest of its answer.
                deadline.reschedule(asyncio.get_running_loop().time() + _PATIENCE_S)

        try:
            async with asyncio.timeout(None) as deadline:
                await app({**scope, SERVED: self.choice.served}, give, take)
        except TimeoutError:
            if not self.withheld:
                self._fail("the engine raised TimeoutError", ErrorClass.BROKEN_OFF)
                raise
        except asyncio.CancelledError:
            self._left = self._left or self._pair is not None
            self._fail("the gateway stopped", ErrorClass.GATEWAY)
            raise
        except Exception as error:
            self._fail(f"the engine raised {type(error).__name__}", ErrorClass.BROKEN_OFF)
            if not forgiving or (self._started and not self.withheld) or self._left:
                raise
            self.withheld = True
        finally:
            self._settle()
        if not self.withheld:
            await self._release(send)

    def record(self, *, mirrored: bool = False) -> None:
        """Leave the row of this request. To be called once, when `run` is over."""
        left = self._left
        error, kind = (None, None) if left and not self._mistaken else self._error()
        live, reader = self.choice.live, self._reader
        spoken = None
        if not left and error is None and 200 <= self.status <= 299:
            spoken = Spoken(
                request=self.request.body, text=reader.text, overlong=reader.overlong, check=live.check
            )
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
                error_class=kind,
                format_valid=None,
                prompt_tokens=reader.prompt_tokens,
                completion_tokens=reader.completion_tokens,
                output_chars=reader.chars,
                conversation_hash=self._telemetry.hash_key(self.choice.conversation),
                path=self.path,
                streamed=reader.streamed,
                replica=self._replica,
                cold=self._cold,
                retry_of=self._retry_of,
                pinned=self.choice.pinned,
                first_token_ms=self._first_token_ms(),
                inter_token_ms=self._inter_token_ms(),
                finish_reason=reader.finish_reason,
                not_copied=self.not_copied,
            ),
            spoken,
        )

    @property
    def answered(self) -> bool:
        """Whether an engine gave a complete answer."""
        return self._finished and self._failure is None

    @property
    def completion_tokens(self) -> int | None:
        """Tokens of the answer, as the engine counted them."""
        return self._reader.completion_tokens

    @property
    def tokens(self) -> int:
        """Tokens of question and answer; a quarter of the letters where the engine did not count."""
        prompt, answer = self._reader.prompt_tokens, self._reader.completion_tokens
        prompt = len(self.request.body) // _LETTERS_A_TOKEN if prompt is None else prompt
        return prompt + (self._reader.chars // _LETTERS_A_TOKEN if answer is None else answer)

    @property
    def called_tools(self) -> bool:
        """Whether the answer is a call of tools."""
        return self._reader.called_tools

    def timed_out(self) -> None:
        """A copy was given up: unlike a user who leaves, that is the candidate's failure."""
        self._left = False
        self._failure, self._failure_class = "no answer in time", ErrorClass.TIMEOUT
        self.status = NO_ANSWER

    def _head(self, message: Message) -> Message:
        self._started = True
        self._replica = message.get(REPLICA)
        self._cold = message.get(COLD, not self._telemetry.has_answered(self.choice.served))
        if failure := message.get(FAILURE):
            self._fail(failure, ErrorClass.TIMEOUT if message.get(TIMED_OUT) else ErrorClass.UNREACHABLE)
        self.status = NO_ANSWER if self._failure else message["status"]
        self._lacking = bool(message.get(NOT_LOADED))
        headers = [
            (key, value) for key, value in message.get("headers", ()) if not key.startswith(b"x-rollout-")
        ]
        self._reader.start(message["status"], headers)
        if self._restorer is not None:
            headers = self._restorer.head(headers, streamed=self._reader.streamed)
        headers += [
            (b"x-rollout-adapter", self.choice.served.encode()),
            (b"x-rollout-slot", self.choice.slot.value.encode()),
            (b"x-rollout-request", self.id.encode()),
        ]
        kept = {key: value for key, value in message.items() if key not in _OURS}
        return {**kept, "headers": headers}

    async def _body(self, message: Message, send: Send) -> None:
        chunk = message.get("body", b"")
        more = message.get("more_body", False)
        if chunk and self._first_byte_ms is None:
            self._first_byte_ms = self._elapsed_ms()
        if self.status == _NOT_FOUND:
            self._hear_what_is_not_found(chunk)
        if not self.withheld:
            shown = message if self._restorer is None else self._restored(message, chunk, more=more)
            await self._pass_on(shown, send, last=not more)
        if chunk:
            self._reader.feed(chunk)
        if not more and not self._finished:
            self._finished = True
            self._latency_ms = self._elapsed_ms()
            self._reader.finish()

    def _restored(self, message: Message, chunk: bytes, *, more: bool) -> Message:
        assert self._restorer is not None
        return {**message, "body": self._restorer.feed(chunk, last=not more)}

    async def _pass_on(self, message: Message, send: Send, *, last: bool = False) -> None:
        """Send a message on, or keep it until it is known whether, or with which length, it may go."""
        if self.withheld:
            self._kept.clear()
        elif self._waits() and not last:
            self._kept.append(message)
        else:
            self._kept.append(message)
            await self._release(send)

    def _waits(self) -> bool:
        if self._restorer is not None and not self._reader.streamed:
            return True
        return self._forgiving and self.status == _NOT_FOUND and len(self._told) < _TOLD_BYTES

    async def _release(self, send: Send) -> None:
        kept, self._kept = self._kept, []
        if len(kept) > 1 and self._finishing(kept[-1]) and self._restorer is not None:
            kept = self._restorer.measured(kept)
        for message in kept:
            await send(message)

    @staticmethod
    def _finishing(message: Message) -> bool:
        return message["type"] == "http.response.body" and not message.get("more_body", False)

    def _hear_what_is_not_found(self, chunk: bytes) -> None:
        """Any server that lacks an adapter names it; one that lacks a route, or some stored answer, does not."""
        self._told = (self._told + chunk)[:_TOLD_BYTES]
        self._lacking = self._lacking or self.choice.served.encode() in self._told
        self.withheld = self.withheld or (self._lacking and self._forgiving and bool(self._kept))

    def _failed_at_once(self) -> bool:
        silent = self._failure_class is ErrorClass.TIMEOUT  # its user has waited long enough
        return not silent and (self.status == NO_ANSWER or self.status >= 500 or self._lacking)

    def _fail(self, failure: str, kind: ErrorClass) -> None:
        if self._failure is None:
            self._failure, self._failure_class = failure, kind

    def _settle(self) -> None:
        if self._started and not self._finished:
            self._reader.finish()
            if self._left and self._reader.complete:
                # It has read the last event and hung up, as some client libraries do: nothing was lost.
                self._finished, self._left = True, False
                self._latency_ms = self._elapsed_ms()

    @property
    def _mistaken(self) -> bool:
        """Whether another model has answered, which stays so however the answer ends."""
        return self._reader.error_class is ErrorClass.WRONG_MODEL

    def _error(self) -> tuple[str | None, ErrorClass | None]:
        if self._mistaken and self._failure_class is not ErrorClass.TIMEOUT:
            return self._reader.error, self._reader.error_class
        if self._failure:
            return self._failure, self._failure_class
        if not self._started:
            return "no answer", ErrorClass.UNREACHABLE
        if not self._finished:
            return "the answer broke off", ErrorClass.BROKEN_OFF
        if self.status == CLIENT_LEFT:
            # It is still here: this is no answer.
            return "the engine says that its client left", ErrorClass.UNREADABLE
        if self._lacking:
            return "the server does not have the adapter", ErrorClass.UNREACHABLE
        return self._reader.error, self._reader.error_class

    def _first_token_ms(self) -> float | None:
        at = self._reader.first_token_at
        return None if at is None else (at - self._begun) * 1000

    def _inter_token_ms(self) -> float | None:
        between = self._reader.inter_token_s
        return None if between is None else between * 1000

    def _elapsed_ms(self) -> float:
        return (time.perf_counter() - self._begun) * 1000
