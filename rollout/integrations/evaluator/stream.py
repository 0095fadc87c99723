"""Flags from LaunchDarkly's own stream, with the age of what it last confirmed."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from rollout.integrations.evaluator.inforce import needed
from rollout.integrations.evaluator.lastgood import Kept, LastGood
from rollout.integrations.evaluator.memory import FlagMemory
from rollout.integrations.evaluator.reader import FlagReader
from rollout.integrations.evaluator.sdkstream import watched, why_ended
from rollout.integrations.evaluator.soundflags import SoundFlags, gives_candidate

if TYPE_CHECKING:
    from ldclient.interfaces import FeatureStore

# LaunchDarkly sends a heartbeat every three minutes at the latest; the SDK itself gives up after five.
_SILENT_S = 240.0
_CONFIRM_EVERY_S = 15.0
_ENVIRONMENT_HEADER = "X-LD-EnvID"


class FlagStreamReader(FlagReader):
    """FlagReader over LaunchDarkly's streaming protocol.

    The SDK itself notices a connection that is open at one end only after five minutes. Here the age of the data
    counts from the last thing that came over the stream, be it a heartbeat, so that a route's limit holds; and it
    counts on while a new connection has not said yet what the flags are. Without an `events_uri` nothing is sent:
    with it, which flag was evaluated for whom. `last_good` keeps the last sound flags for a start without a stream;
    where there are none, the first flags are waited for, `patience_s` at most.
    """

    def __init__(
        self,
        sdk_key: str,
        *,
        stream_uri: str = "https://stream.launchdarkly.com",
        events_uri: str | None = None,
        last_good: Path | None = None,
        scope: str = "",
        patience_s: float = 0.0,
        silent_s: float = _SILENT_S,
    ) -> None:
        from ldclient import LDClient
        from ldclient.config import Config

        store = FlagMemory()
        kept = None if last_good is None else LastGood(last_good, sdk_key=sdk_key, scope=scope)
        feed = _StreamFeed(store, kept, silent_s)
        config = Config(
            sdk_key,
            # All that the SDK could ever ask besides is asked of the same host, and of no other region.
            base_uri=stream_uri,
            stream_uri=stream_uri,
            events_uri=events_uri or stream_uri,
            feature_store=store,
            update_processor_class=feed.attach,
            send_events=events_uri is not None,
            diagnostic_opt_out=True,
        )
        super().__init__(LDClient(config, start_wait=patience_s), store, feed)


class _StreamFeed:
    """What comes over the stream, checked before the SDK takes it, and what is known of the stream itself."""

    def __init__(self, store: FlagMemory, last_good: LastGood | None, silent_s: float) -> None:
        self._sound = SoundFlags(store, is_dial=gives_candidate, only_forward=True)
        self._last_good = last_good
        self._silent_s = silent_s
        self._confirmed_at = float("-inf")
        self._written_at = float("-inf")
        # Whether this connection has said what the flags are, so that its heartbeats confirm what is in force.
        self._in_step = False
        self._trouble: str | None = None
        self.source = "stream"
        self.environment: str | None = None

    def attach(self, config: Any, store: FeatureStore, ready: threading.Event) -> Any:
        """What the SDK calls to make its update processor, once in each process."""
        self._sound.put_into(config.data_source_update_sink or store)
        self._in_step, self._trouble = False, "the stream of flags is not connected yet"
        if self._last_good is not None:
            if not self._sound.ready:
                self._begin_with(self._last_good)
            self._last_good.start()
        if self._sound.ready:
            ready.set()
        return watched(self)(config, store, ready, None)

    def stop(self) -> None:
        """Write down what is in force."""
        if self._last_good is not None:
            self._keep()
            self._last_good.stop()

    def hear(self, action: object) -> None:
        """A connection began, failed or said that it is alive."""
        from ld_eventsource.actions import Comment, Fault, Start

        match action:
            case Fault() if action.error is None and not self._in_step:
                pass  # the SDK itself ended it, for a reason that we know better
            case Fault():
                self._in_step, self._trouble = False, why_ended(action.error)
            case Start():
                self._in_step, self._trouble = False, "the stream is connected, and no flags have come yet"
                self._recognise(getattr(action, "headers", None))
            case Comment() if self._in_step:
                self._confirm()

    def take(self, event: str, data: str) -> bool:
        """Take an event; whether it said what all flags are. Raises ValueError if it is malformed."""
        try:
            match event:
                case "put":
                    return self._take_all(json.loads(data))
                case "patch":
                    self._take_one(json.loads(data))
                case "delete":
                    self._drop_one(json.loads(data))
        except Exception as error:
            # The SDK connects anew, ever later but every half a minute, and hears what all flags are.
            why = str(error) if isinstance(error, ValueError) else type(error).__name__
            self._in_step, self._trouble = False, f"the stream said something malformed: {why}"
            raise ValueError(f"a malformed {event} event: {why}") from None
        if self._in_step:
            self._confirm()
        return False

    @property
    def ready(self) -> bool:
        """Whether flags ever came."""
        return self._sound.ready

    @property
    def versions(self) -> dict[str, int]:
        """Versions in force of the flags that are dials."""
        return self._sound.versions

    @property
    def age_s(self) -> float:
        """Seconds since the stream confirmed what is in force; infinite before the first flags."""
        return time.monotonic() - self._confirmed_at if self.ready else float("inf")

    def age_of(self, key: str) -> float:
        """The same for one flag, which may be kept in an older form than the others."""
        return self._sound.age_of(key, self.age_s)

    @property
    def error(self) -> str | None:
        """Why newer data, or a single flag, are not in force."""
        silence = f"nothing has come over the stream for {self.age_s:.0f} s" if self._is_silent else None
        kept = None if self._last_good is None else self._last_good.error
        return "; ".join(filter(None, (self._trouble, silence, self._sound.complaint, kept))) or None

    @property
    def _is_silent(self) -> bool:
        return self._in_step and self.age_s > self._silent_s

    def _take_all(self, payload: JsonValue) -> bool:
        if not isinstance(payload, dict) or not isinstance(data := payload.get("data"), dict):
            raise ValueError("no data")
        try:
            self._sound.take_all(data.get("flags"), data.get("segments", {}), age_s=self.age_s)
        except ValueError as error:
            if self.ready:
                raise
            # Nobody is moved by what is not there yet; the first sound flag will come by itself.
            self._in_step, self._trouble = True, f"what the stream sent {error}"
            return False
        self._in_step, self._trouble, self.source = True, None, "stream"
        self._confirm(changed=True)
        return True

    def _take_one(self, payload: JsonValue) -> None:
        kind, key, patch = _path_of(payload)
        item = patch.get("data")
        if kind == "flags":
            self._sound.take_flag(key, item, age_s=self.age_s)
        elif kind == "segments":
            self._sound.take_segment(key, item)
        if self._in_step and self.ready:
            self._trouble = None
        self._keep()

    def _drop_one(self, payload: JsonValue) -> None:
        kind, key, patch = _path_of(payload)
        version = patch.get("version")
        if not isinstance(version, int) or isinstance(version, bool):
            raise ValueError("no version")
        if kind == "flags":
            self._sound.drop_flag(key, version)
        elif kind == "segments":
            self._sound.take_segment(key, {"deleted": True, "version": version})
        self._keep()

    def _confirm(self, *, changed: bool = False) -> None:
        self._confirmed_at = time.monotonic()
        if changed or self._confirmed_at - self._written_at > _CONFIRM_EVERY_S:
            self._keep()

    def _keep(self) -> None:
        """Have what is in force written down, from now on by its own thread."""
        if self._last_good is None or not self._sound.ready or self.source != "stream":
            return
        self._written_at = time.monotonic()
        to_unix = time.time() - self._written_at
        now = self._sound.now
        flags, segments = needed(now)
        self._last_good.keep(
            Kept(
                flags=flags,
                segments=segments,
                environment=self.environment,
                confirmed_at=self._confirmed_at + to_unix,
                older={
                    key: max(0.0, since + to_unix) for key, since in now.kept_since.items() if key in flags
                },
            )
        )

    def _begin_with(self, last_good: LastGood) -> None:
        if (kept := last_good.read()) is None:
            return
        to_monotonic = time.monotonic() - time.time()
        try:
            self._sound.take_all(dict(kept.flags), dict(kept.segments), age_s=float("inf"))
        except ValueError as error:
            last_good.refuse(f"the file {error}")
            return
        self._sound.age({key: at + to_monotonic for key, at in kept.older.items()})
        self._confirmed_at = kept.confirmed_at + to_monotonic
        self.source, self.environment = "last-good", kept.environment

    def _recognise(self, headers: Any) -> None:
        environment = headers.get(_ENVIRONMENT_HEADER) if headers is not None else None
        if isinstance(environment, str) and environment.isascii() and environment.isprintable():
            self.environment = environment[:100] or None


def _path_of(payload: JsonValue) -> tuple[str, str, dict[str, JsonValue]]:
    """Kind and key of what an event is about, and the event."""
    if not isinstance(payload, dict) or not isinstance(path := payload.get("path"), str):
        raise ValueError("no path")
    kind, _, key = path.removeprefix("/").partition("/")
    return kind, key, payload
