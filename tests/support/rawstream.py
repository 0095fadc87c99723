"""A streaming endpoint on a bare socket that says whatever a test wants, sound or not."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

ENVIRONMENT_ID = "64b0c0ffee64b0c0ffee64b0"


class RawStream:
    """Greets each connection with `greeting` (event and data), then says what it is told to, and heartbeats.

    A `status` other than 200 is all that a connection gets. `asked` are the heads of the requests.
    """

    def __init__(self) -> None:
        self.greeting: list[tuple[str, str]] = []
        self.status = 200
        self.asked: list[bytes] = []
        self.beating = threading.Event()
        self.beating.set()
        self._connections: list[socket.socket] = []
        self._saying = threading.Lock()
        self._ended = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()
        threading.Thread(target=self._beat, daemon=True).start()

    def greet_with(self, flags: Mapping[str, Any], segments: Mapping[str, Any] | None = None) -> None:
        """Say to each new connection that these are all flags."""
        self.greeting = [("put", _put(flags, segments))]

    def say(self, event: str, data: object) -> None:
        """Say something to all who listen; a text is said as it is."""
        self._send(_event(event, data if isinstance(data, str) else json.dumps(data)))

    def put(self, flags: Mapping[str, Any]) -> None:
        """These are all flags."""
        self.say("put", _put(flags, None))

    def patch(self, key: str, flag: object) -> None:
        """A flag has changed."""
        self.say("patch", {"path": f"/flags/{key}", "data": flag})

    def delete(self, key: str, version: object) -> None:
        """A flag is gone."""
        self.say("delete", {"path": f"/flags/{key}", "version": version})

    def drop(self) -> None:
        """End all connections."""
        with self._saying:
            connections, self._connections = self._connections, []
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def close(self) -> None:
        """Stop."""
        self._ended.set()
        self._socket.close()
        self.drop()

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with suppress(OSError):
                self._greet(connection)

    def _greet(self, connection: socket.socket) -> None:
        self.asked.append(connection.recv(65536))
        if self.status != 200:
            connection.sendall(b"HTTP/1.1 %d No\r\ncontent-length: 0\r\n\r\n" % self.status)
            connection.close()
            return
        head = (
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n"
            f"x-ld-envid: {ENVIRONMENT_ID}\r\n\r\n"
        )
        events = b"".join(_event(*each) for each in self.greeting)
        with self._saying:
            connection.sendall(head.encode() + (_chunk(events) if events else b""))
            self._connections.append(connection)

    def _beat(self) -> None:
        while not self._ended.wait(0.05):
            if self.beating.is_set():
                self._send(b":\n")

    def _send(self, content: bytes) -> None:
        with self._saying:
            for connection in self._connections:
                with suppress(OSError):
                    connection.sendall(_chunk(content))


@contextmanager
def raw_stream(flags: Mapping[str, Any] | None = None) -> Iterator[RawStream]:
    """One that greets with these flags."""
    stream = RawStream()
    if flags is not None:
        stream.greet_with(flags)
    try:
        yield stream
    finally:
        stream.close()


def _put(flags: Mapping[str, Any], segments: Mapping[str, Any] | None) -> str:
    return json.dumps({"path": "/", "data": {"flags": flags, "segments": segments or {}}})


def _event(event: str, data: str) -> bytes:
    return f"event: {event}\ndata: {data}\n\n".encode()


def _chunk(content: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(content), content)
