"""Flags from LaunchDarkly's own stream, with the age of what it last said."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rollout.integrations.evaluator.reader import FlagReader

if TYPE_CHECKING:
    import threading

    from ldclient.interfaces import FeatureStore


class FlagStreamReader(FlagReader):
    """FlagReader over LaunchDarkly's streaming protocol. No events and no diagnostics are sent.

    The SDK itself notices a connection that is open at one end only after five minutes. Here the age of the data
    counts from the last thing that came over the stream, be it a heartbeat, so that a route's limit holds.
    """

    def __init__(self, sdk_key: str, *, stream_uri: str = "https://stream.launchdarkly.com") -> None:
        from ldclient import LDClient
        from ldclient.config import Config
        from ldclient.feature_store import InMemoryFeatureStore

        store = InMemoryFeatureStore()
        feed = _StreamFeed(store)
        config = Config(
            sdk_key,
            stream_uri=stream_uri,
            feature_store=store,
            update_processor_class=feed.attach,
            send_events=False,
            diagnostic_opt_out=True,
        )
        super().__init__(LDClient(config, start_wait=0), store, feed)


class _StreamFeed:
    """The SDK's streaming processor, watched: when anything last came, and whether it is connected."""

    def __init__(self, store: FeatureStore) -> None:
        self._store = store
        self._heard_at: float | None = None
        self._connected = False

    def attach(self, config: Any, store: FeatureStore, ready: threading.Event) -> Any:
        """What the SDK calls to make its update processor."""
        from ldclient.impl.datasource.streaming import StreamingUpdateProcessor

        feed = self

        class Watched(StreamingUpdateProcessor):  # type: ignore[misc]
            def _create_sse_client(self) -> Any:
                return _Listening(super()._create_sse_client(), feed)

        return Watched(config, store, ready, None)

    def hear(self, action: object) -> None:
        """Something came over the stream, or it ended."""
        from ld_eventsource.actions import Fault

        self._connected = not isinstance(action, Fault)
        if self._connected:
            self._heard_at = time.monotonic()

    @property
    def ready(self) -> bool:
        """Whether flags ever came."""
        return bool(self._store.initialized)

    @property
    def age_s(self) -> float:
        """Seconds since anything came over the stream; infinite before the first flags."""
        if self._heard_at is None or not self.ready:
            return float("inf")
        return time.monotonic() - self._heard_at

    def age_of(self, key: str) -> float:  # noqa: ARG002 - they come together
        """Seconds since anything came over the stream."""
        return self.age_s

    @property
    def error(self) -> str | None:
        """Why newer data are not in force."""
        return None if self._connected else "the stream of flags is not connected"


class _Listening:
    """An SSE client whose every action is heard before the SDK takes it."""

    def __init__(self, client: Any, feed: _StreamFeed) -> None:
        self._client = client
        self._feed = feed

    @property
    def all(self) -> Iterator[object]:
        for action in self._client.all:
            self._feed.hear(action)
            yield action

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)
