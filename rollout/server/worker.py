"""The one thread that owns the model: requests join its running batch between two steps.

Everything that it is asked arrives in one queue, in order: a request that was accepted before its adapter was
forgotten still runs, and the adapter's weights go when the last row that uses them is done.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from rollout.core.generation import Decoding, Token
from rollout.server.answer import Answer, Piece
from rollout.server.decoder import Decoder

_log = logging.getLogger(__name__)
_WAITING_LIMIT: Final = 2048
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Failure:
    """The row ends without an answer."""

    message: str


Sink = Callable[[Piece | Failure], None]
Post = Callable[[list[tuple[Sink, Piece | Failure]]], None]


@dataclass(slots=True)
class _Row:
    asked: Decoding
    answer: Answer
    sink: Sink


class Worker:
    """Runs a Decoder on a thread of its own.

    `max_loras` is the number of different adapters in one batch; a row with a further one waits. `post` brings
    the pieces of one step to where the sinks may be called (one call a step keeps the event loop calm).
    """

    def __init__(self, decoder: Decoder, *, batch_size: int, max_loras: int, post: Post) -> None:
        self._decoder = decoder
        self._batch_size = batch_size
        self._max_loras = max_loras
        self._post = post
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._waiting: dict[int, _Row] = {}
        self._running: dict[int, _Row] = {}
        self._forgotten: set[str] = set()
        self._numbers = 0
        self._stopping = False
        self._broken: str | None = None
        self._thread = threading.Thread(target=self._run, name="decoder", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Stop after the current step; rows that are still running fail."""
        self._inbox.put(self._halt)
        self._thread.join(timeout)

    @property
    def healthy(self) -> bool:
        """Whether requests can be answered. A step that raised is final: the state of the batch is unknown."""
        return self._broken is None and self._thread.is_alive()

    @property
    def running(self) -> int:
        """Rows in the batch."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Rows that wait for a place in it."""
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether so many requests wait that another one should be turned away."""
        return len(self._waiting) >= _WAITING_LIMIT

    def submit(self, asked: Decoding, answer: Answer, sink: Sink) -> int:
        """Queue a request; its pieces go to the sink. The answer is a number to cancel it by."""
        self._numbers += 1
        number = self._numbers
        self._inbox.put(lambda: self._accept(number, _Row(asked, answer, sink)))
        return number

    def cancel(self, number: int) -> None:
        """Free the row of a client that left. One that is done is success."""
        self._inbox.put(lambda: self._drop(number))

    def load(self, key: str, folder: Path) -> Future[None]:
        """Load an adapter between two steps; the future carries LoadRefused or Unreadable."""
        future: Future[None] = Future()
        self._inbox.put(lambda: _settle(future, partial(self._decoder.load, key, folder)))
        return future

    def read(self, prompt: Sequence[int], adapter: str | None, *, top: int) -> Future[Sequence[Token]]:
        """Read a prompt between two steps."""
        future: Future[Sequence[Token]] = Future()
        self._inbox.put(lambda: _settle(future, partial(self._decoder.read, prompt, adapter, top=top)))
        return future

    def forget(self, key: str) -> None:
        """Let an adapter go when no accepted request uses it any more."""
        self._inbox.put(lambda: self._forgotten.add(key))

    def _run(self) -> None:
        while not self._stopping:
            self._take_orders()
            self._admit()
            if self._running:
                self._advance()
            self._let_go()

    def _take_orders(self) -> None:
        idle = not self._running and not self._waiting
        try:
            while not self._stopping:
                self._inbox.get(block=idle)()
                idle = False
        except queue.Empty:
            return

    def _accept(self, number: int, row: _Row) -> None:
        if self._broken is not None:
            self._post([(row.sink, Failure(self._broken))])
        else:
            self._waiting[number] = row

    def _admit(self) -> None:
        """In order of arrival: one that waits for an adapter slot is not passed, so that none waits for ever."""
        adapters = {row.asked.adapter for row in self._running.values()} - {None}
        for number, row in list(self._waiting.items()):
            adapters |= {row.asked.adapter} - {None}
            if len(self._running) >= self._batch_size or len(adapters) > self._max_loras:
                return
            del self._waiting[number]
            self._running[number] = row
            self._decoder.add(number, row.asked)

    def _advance(self) -> None:
        try:
            made = self._decoder.step()
        except Exception:
            _log.exception("the decoder failed; this server answers nothing more")
            self._break("the engine is dead; see the server's log")
            return
        pieces: list[tuple[Sink, Piece | Failure]] = []
        for number, token in made:
            row = self._running[number]
            piece = row.answer.feed(token)
            pieces.append((row.sink, piece))
            if token.finish is not None:
                del self._running[number]
            elif piece.finish is not None:
                self._drop(number)
        self._post(pieces)

    def _drop(self, number: int) -> None:
        self._waiting.pop(number, None)
        if self._running.pop(number, None) is not None:
            self._decoder.drop(number)

    def _let_go(self) -> None:
        if not self._forgotten:
            return
        used = {row.asked.adapter for row in (*self._waiting.values(), *self._running.values())}
        for key in self._forgotten - used:
            self._decoder.unload(key)
            self._forgotten.discard(key)

    def _break(self, reason: str) -> None:
        self._broken = reason
        rows = [*self._waiting.values(), *self._running.values()]
        self._waiting.clear()
        self._running.clear()
        self._post([(row.sink, Failure(reason)) for row in rows])

    def _halt(self) -> None:
        self._stopping = True
        self._break("the server is stopping")


def _settle(future: Future[_T], do: Callable[[], _T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(do())
    except BaseException as error:
        future.set_exception(error)
