"""The event stream of SDKs: everything once (`put`), then each change, and a comment now and then.

Each client has a queue of its own. One that does not read is dropped when its queue is full: it comes back and
gets everything anew, and nobody waits for it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Final

from rollout.flagserver.book import Json
from rollout.flagserver.keeping import Change

_LARGEST_QUEUE: Final = 8 * 1024 * 1024
_HEARTBEAT: Final = b":\n\n"


class Broadcast:
    """All streams that are open. `publish` and `close` may be called from any thread, once it runs."""

    def __init__(self, *, heartbeat_s: float) -> None:
        self._heartbeat_s = heartbeat_s
        self._clients: set[_Client] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self.malform = 0
        """How many changes are still to be sent spoilt."""

    def run(self) -> None:
        """From now on, in this event loop."""
        self._loop = asyncio.get_running_loop()
        self._closed = False

    def publish(self, changes: list[Change]) -> None:
        """Tell every client."""
        self._call(lambda: self._publish(changes))

    def drop(self) -> None:
        """End every stream; clients come back."""
        self._call(self._drop)

    def freeze(self) -> None:
        """Send nothing more on the streams that are open now, and keep the connections: half-open for ever."""
        self._call(self._freeze)

    def close(self) -> None:
        """End every stream, and those that begin later, so that the server can stop."""
        self._closed = True
        self._call(self._drop)

    async def events(self, everything: Callable[[], Json]) -> AsyncIterator[bytes]:
        """The bytes of one stream. `everything` is asked when changes are already being queued: none is lost."""
        client = _Client()
        self._clients.add(client)
        try:
            yield _event("put", json.dumps({"path": "/", "data": everything()}))
            while not self._closed:
                content = await client.next(self._heartbeat_s)
                if content is None:
                    return
                yield content
        finally:
            self._clients.discard(client)

    def _call(self, act: Callable[[], None]) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(act)

    def _publish(self, changes: list[Change]) -> None:
        for kind, data in changes:
            text = json.dumps(data)
            if self.malform > 0:
                self.malform -= 1
                text = text[: len(text) // 2]
            event = _event(kind, text)
            for client in list(self._clients):
                client.give(event)

    def _drop(self) -> None:
        for client in list(self._clients):
            client.end()

    def _freeze(self) -> None:
        for client in self._clients:
            client.frozen = True


class _Client:
    """What is still to be sent to one client; a bound in bytes, whatever the number of changes."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[bytes] = asyncio.Queue()
        self._waiting = 0
        self._ended = False
        self.frozen = False

    def give(self, content: bytes) -> None:
        if self.frozen or self._ended:
            return
        self._waiting += len(content)
        if self._waiting > _LARGEST_QUEUE:
            self.end()
        else:
            self._queue.put_nowait(content)

    def end(self) -> None:
        """Nothing more is sent, not even what waits: whoever comes back gets everything anew."""
        self._ended = True
        while not self._queue.empty():
            self._queue.get_nowait()
        self._queue.put_nowait(b"")

    async def next(self, heartbeat_s: float) -> bytes | None:
        """What to send next; None at the end."""
        while not self._ended:
            try:
                content = await asyncio.wait_for(self._queue.get(), heartbeat_s)
                self._waiting -= len(content)
            except TimeoutError:
                content = _HEARTBEAT
            if not self._ended and not self.frozen:
                return content
        return None


def _event(kind: str, data: str) -> bytes:
    return f"event: {kind}\ndata: {data}\n\n".encode()
