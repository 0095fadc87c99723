"""One client's connection, with the patience that uvicorn lacks: for a head, for a reader, for one too many."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from rollout.gateway.openai import Receive, RefusedError, Scope, Send, send_refusal

_LARGEST_HEAD = 64 * 1024
_SLOWEST_BODY = 8 * 1024
_SPARE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """What a client may keep a server waiting for.

    `head_s` for the whole head of a request, `idle_s` between two requests, `reader_s` while it takes nothing of
    an answer, or still sends what was refused, `body_s` for a request's body and as long again as 8 KiB/s take.
    `connections` are served at a time; a few more are told so, and the rest are closed unheard.
    """

    connections: int
    head_s: float = 10.0
    body_s: float = 30.0
    idle_s: int = 75
    reader_s: float = 60.0


class Connection(HttpToolsProtocol):
    """uvicorn's own protocol under `patience`."""

    def __init__(self, *arguments: Any, patience: Patience, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._patience = patience
        self._deadline: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._between = True
        self._ended = False
        self._body_bytes, self._body_since = 0, 0.0
        self._reader: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there. One too many is answered once it has asked: before, it might not hear it."""
        super().connection_made(transport)
        surplus = len(self.connections) - self._patience.connections
        if surplus > _SPARE:
            transport.abort()
            return
        if surplus > 0:
            self.app = _full
        self._await_head(0)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._head_came()
        self._reader_reads()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """It says something. Between two requests that is the beginning of a head, or nothing at all."""
        self._ended = False
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._head_came()
            self._follow_body(len(data))
        elif self._ended:
            # The rest of a request that was answered before it was read is no part of the next one's head.
            self._head_came()
            self._set_deadline(self._patience.idle_s)
        elif self._between:
            self._await_head(len(data))
        else:
            # What is left of a request that was refused before it was read: its client still has to hear that.
            self._set_deadline(self._patience.reader_s)

    def on_headers_complete(self) -> None:
        """The head is there, and a body may follow."""
        self._between = False
        self._body_bytes, self._body_since = 0, self.loop.time()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._between = self._ended = True
        super().on_message_complete()

    def pause_writing(self) -> None:
        """It does not read what it is told."""
        super().pause_writing()
        self._reader_reads()
        self._reader = self.loop.call_later(self._patience.reader_s, self.transport.abort)

    def resume_writing(self) -> None:
        """It reads again."""
        self._reader_reads()
        super().resume_writing()

    def _unsupported_upgrade_warning(self) -> None:
        """A client's wish is nothing to warn of: whoever likes could fill the log."""

    def _await_head(self, more: int) -> None:
        self._head_bytes += more
        if self._head_bytes > _LARGEST_HEAD:
            self.transport.abort()
        else:
            self._set_deadline(self._patience.head_s)

    def _follow_body(self, more: int) -> None:
        # One that stops is the app's to answer; one that never stops and never ends would hold a place forever.
        self._body_bytes += more
        taken_s = self.loop.time() - self._body_since
        if not self._between and taken_s > self._patience.body_s + self._body_bytes / _SLOWEST_BODY:
            self.transport.abort()

    def _set_deadline(self, wait_s: float) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(wait_s, self.transport.abort)

    def _head_came(self) -> None:
        self._head_bytes = 0
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _reader_reads(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            self._reader = None


async def _full(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001
    full = RefusedError(429, "Too many connections are open. Please try again.", code="overloaded")
    await send_refusal(send, full, [(b"retry-after", b"1"), (b"connection", b"close")])
