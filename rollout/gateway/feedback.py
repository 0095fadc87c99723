"""`POST /v1/rollout/feedback`: what a user, or a business event, says of an answer that the gateway gave."""

from __future__ import annotations

import time
from typing import Annotated, Literal

import msgspec

from rollout.core.metric import Feedback
from rollout.gateway.openai import (
    ClientLeftError,
    Receive,
    RefusedError,
    Scope,
    Send,
    header,
    read_body,
    send_bytes,
    send_refusal,
)
from rollout.gateway.telemetry import Telemetry

PATH = "/v1/rollout/feedback"
_LARGEST = 4096
_PAUSE_S = 10.0
_A_SECOND, _AT_ONCE = 200.0, 1000.0


class _Told(msgspec.Struct, forbid_unknown_fields=True):
    request_id: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}\Z")]
    thumbs: Literal[-1, 1] | None = None
    score: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    conversion: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}\Z")] | None = None


_TOLD = msgspec.json.Decoder(_Told)


class FeedbackPage:
    """Takes feedback by the id that an answer's `x-rollout-request` header has.

    Whether there was such an answer is not looked up: another process may have given it, and its row may come
    later. What joins no answer counts for nobody. At most 200 a second are taken, and 1,000 at once.
    """

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._room = _AT_ONCE
        self._asked_at = time.monotonic()

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request to `PATH`."""
        try:
            self._telemetry.tell(await self._read(scope, receive))
        except ClientLeftError:
            return
        except RefusedError as refused:
            self._telemetry.feedback_refused(refused.status)
            await send_refusal(send, refused, _further_headers(refused))
            return
        await send_bytes(send, 202, b'{"status": "accepted"}')

    async def _read(self, scope: Scope, receive: Receive) -> Feedback:
        if scope["method"] != "POST":
            raise RefusedError(405, "Feedback is sent with POST.")
        self._admit()
        media_type = (header(scope["headers"], b"content-type") or "").partition(";")[0].strip().lower()
        if media_type != "application/json":
            # Other types may be sent by any web page without asking.
            raise RefusedError(415, "The content type must be application/json.")
        body = await read_body(receive, largest=_LARGEST, pause_s=_PAUSE_S)
        return _feedback(body)

    def _admit(self) -> None:
        now = time.monotonic()
        self._room = min(_AT_ONCE, self._room + (now - self._asked_at) * _A_SECOND)
        self._asked_at = now
        if self._room < 1:
            raise RefusedError(429, "Too much feedback at once. Please try again.", code="overloaded")
        self._room -= 1


def _feedback(body: bytes) -> Feedback:
    """Raises RefusedError (400)."""
    try:
        told = _TOLD.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise RefusedError(400, f"This is not feedback: {error}") from None
    if told.thumbs is None and told.score is None and told.conversion is None:
        raise RefusedError(400, "Feedback needs thumbs, a score or a conversion.")
    return Feedback(
        request_id=told.request_id,
        at=time.time(),
        thumbs=told.thumbs,
        score=told.score,
        conversion=told.conversion,
    )


def _further_headers(refused: RefusedError) -> list[tuple[bytes, bytes]]:
    match refused.status:
        case 405:
            return [(b"allow", b"POST")]
        case 429:
            return [(b"retry-after", b"1")]
        case _:
            return []
