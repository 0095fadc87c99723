"""The SDK's own streaming, with an ear in it: how it connects, waits and connects again is left to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol


class Ear(Protocol):
    """Who is told of everything that comes over the stream, before the SDK takes it."""

    def hear(self, action: object) -> None:
        """A connection began, failed or said something."""
        ...

    def take(self, event: str, data: str) -> bool:
        """Take an event; whether it said what all flags are. Raises ValueError if it is malformed."""
        ...

    def stop(self) -> None:
        """It is over."""
        ...


def watched(feed: Ear) -> Any:
    """The class of the SDK's update processor that this feed gets its events from, and takes them in its place."""
    from ldclient.impl.datasource.streaming import StreamingUpdateProcessor

    class Watched(StreamingUpdateProcessor):  # type: ignore[misc]
        def _create_sse_client(self) -> Any:
            return _Listening(super()._create_sse_client(), feed)

        def _process_message(self, store: Any, msg: Any) -> bool:  # noqa: ARG002 - the feed knows it
            return feed.take(msg.event, msg.data)

        def stop(self) -> None:
            super().stop()
            feed.stop()

    return Watched


class _Listening:
    """An SSE client whose every action is heard before the SDK takes it."""

    def __init__(self, client: Any, feed: Ear) -> None:
        self._client = client
        self._feed = feed

    @property
    def all(self) -> Iterator[object]:
        for action in self._client.all:
            self._feed.hear(action)
            yield action

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


def why_ended(error: Exception | None) -> str:
    """What is wrong with the connection, in words that hold no address and no key."""
    from ld_eventsource.errors import HTTPStatusError

    match error:
        case None:
            return "the stream of flags is not connected: it was ended"
        case HTTPStatusError(status=401 | 403):
            # The SDK asks again after five minutes, then ever later up to an hour; before 9.18 never.
            return f"the SDK key is refused ({error.status}): set it right, and start anew"
        case HTTPStatusError():
            return f"the stream of flags is not connected: status {error.status}"
        case _:
            return f"the stream of flags is not connected: {type(error).__name__}"
