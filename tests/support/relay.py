"""A loopback address whose other end can go away and be somebody else."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit


class Relay:
    """Passes connections on to `target` (a URL); without one they are closed at once."""

    def __init__(self) -> None:
        self.target: str | None = None
        self._open: list[socket.socket] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """End what is open, and let nothing new through."""
        self.target = None
        connections, self._open = self._open, []
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def close(self) -> None:
        """Stop."""
        self._socket.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._socket.accept()
            except OSError:
                return
            try:
                self._join(near)
            except OSError:
                near.close()

    def _join(self, near: socket.socket) -> None:
        if self.target is None:
            raise ConnectionRefusedError
        to = urlsplit(self.target)
        far = socket.create_connection((to.hostname, to.port))
        self._open += [near, far]
        for ends in ((near, far), (far, near)):
            threading.Thread(target=_pump, args=ends, daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while content := source.recv(65536):
            sink.sendall(content)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


@contextmanager
def relaying() -> Iterator[Relay]:
    """One that is closed in the end."""
    relay = Relay()
    try:
        yield relay
    finally:
        relay.close()
