"""Follows one answer while it passes: cuts its bytes into events, and notices when it breaks off.

Nothing here delays a byte: chunks are read after they were sent on.
"""

from __future__ import annotations

from rollout.core.metric import ErrorClass
from rollout.gateway.answerform import read_answer, read_head
from rollout.gateway.transcript import NOT_FINITE, Transcript

_LARGEST = 8 * 1024 * 1024


class AnswerReader(Transcript):
    """The transcript of one upstream answer, made of its bytes.

    A body, or a line of a stream, beyond 8 MiB is not read: the answer is `overlong` and has no text then, and only its
    head is asked which model it is of. One that is compressed is not read at all.
    """

    def __init__(self, asked: str | None = None) -> None:
        super().__init__(asked)
        self.streamed = False
        self._status = 0
        self._readable = True
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
        if self.streamed and b"\n" in chunk:
            *lines, rest = (bytes(self._pending) + chunk).split(b"\n")
            self._pending = bytearray(rest)
            self._read_lines(lines)
        else:
            self._pending += chunk
        if len(self._pending) > _LARGEST:
            self._give_up(self._pending)

    def finish(self) -> None:
        """The end of the body, as the upstream meant it."""
        if not self._readable:
            return
        rest = bytes(self._pending)
        self._pending.clear()
        if self.streamed:
            self._read_lines([rest])
            if self._readable:
                self._end_stream()
        elif 200 <= self._status <= 299:
            self._read_whole(rest)
        elif self._status == 400 and NOT_FINITE in rest.lower():
            # vLLM answers 400 to a client that did nothing wrong when an adapter computes NaN.
            self.fail("the adapter's values are not finite", ErrorClass.NOT_FINITE)

    @property
    def text(self) -> str | None:
        """What the model said; None if nothing could be read, it called tools, or the answer is no text at all."""
        return super().text if self._readable else None

    def _give_up(self, read: bytes | bytearray) -> None:
        self._readable, self.overlong = False, True
        if self.streamed or 200 <= self._status <= 299:
            self.take_model(read_head(read.removeprefix(b"data:")))
        self._pending.clear()

    def _read_lines(self, lines: list[bytes]) -> None:
        for line in lines:
            if len(line) > _LARGEST:
                self._give_up(line)
                return
            if line.startswith(b"data:"):
                data = line[5:].strip()
                if data == b"[DONE]":
                    self.take_end()
                elif (event := read_answer(data)) is not None:
                    self.take_event(event, data)

    def _end_stream(self) -> None:
        if not self.complete:
            self.fail("the stream ended without its last event", ErrorClass.BROKEN_OFF)
        self.require_an_answer()

    def _read_whole(self, data: bytes) -> None:
        if (answer := read_answer(data)) is None:
            self.fail("the answer is not JSON", ErrorClass.UNREADABLE)
        else:
            self.take_whole(answer, data)
            self.require_an_answer()
