"""Flags from a file, through an update processor of our own.

The SDK's file source is not safe:
with `watchdog` it misses atomic renames or reloads without end, it empties the store for a valid `{}`, and it
parses JSON as YAML wherever PyYAML happens to be installed.
"""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from rollout.integrations.evaluator.memory import FlagMemory
from rollout.integrations.evaluator.reader import FlagReader
from rollout.integrations.evaluator.soundflags import SoundFlags
from rollout.watch import POLL_S, FileWatch

if TYPE_CHECKING:
    from ldclient.interfaces import FeatureStore


class FlagFileReader(FlagReader):
    """FlagReader over a flag file. Nothing leaves the process: no events, no stream, no diagnostics."""

    def __init__(self, path: Path, *, poll_s: float = POLL_S) -> None:
        from ldclient import LDClient
        from ldclient.config import Config

        store = FlagMemory()
        feed = _FlagFileFeed(store, path, poll_s)
        config = Config(
            "flag-file",  # the SDK wants a key; with our update processor and no events it is never used
            feature_store=store,
            update_processor_class=feed.attach,
            send_events=False,
            diagnostic_opt_out=True,
        )
        super().__init__(LDClient(config, start_wait=0), store, feed)


class _FlagFileFeed:
    """The SDK's update processor over one flag file: whole, sound contents only, the last good one kept."""

    source, environment = "file", None

    def __init__(self, store: FlagMemory, path: Path, poll_s: float) -> None:
        self._sound = SoundFlags(store)
        self._path, self._poll_s = path, poll_s
        self._watch = FileWatch(path, self._accept, poll_s=poll_s)
        self._confirmed_before = float("-inf")
        self._sink: Any = store
        self._ready: threading.Event | None = None

    def attach(self, config: Any, store: FeatureStore, ready: threading.Event) -> _FlagFileFeed:
        """What the SDK calls to make its update processor, once in each process."""
        # The thread of the old watch stayed behind in the parent, perhaps with the lock in its hand.
        self._confirmed_before = time.monotonic() - self.age_s
        self._watch = FileWatch(self._path, self._accept, poll_s=self._poll_s)
        self._sink = config.data_source_update_sink or store
        self._sound.put_into(self._sink)
        self._ready = ready
        return self

    def start(self) -> None:
        """Read once, then watch."""
        self._watch.start()
        if self._ready is not None:
            self._ready.set()

    def stop(self) -> None:
        """Stop watching."""
        self._watch.stop()

    def is_alive(self) -> bool:
        """Part of the SDK's interface."""
        return True

    def initialized(self) -> bool:
        """Whether any content was ever good."""
        return self._sound.ready

    @property
    def ready(self) -> bool:
        """Whether any content was ever good."""
        return self._sound.ready

    @property
    def versions(self) -> dict[str, int]:
        """Versions in force, by flag."""
        return self._sound.versions

    @property
    def age_s(self) -> float:
        """Seconds since the file was last seen to hold what is in force."""
        return min(self._watch.age_s, time.monotonic() - self._confirmed_before)

    def age_of(self, key: str) -> float:
        """The same for one flag: what was kept because the file spoils it ages, however fresh the file is."""
        return self._sound.age_of(key, self.age_s)

    @property
    def error(self) -> str | None:
        """Why the file, or one of its flags, is not in force."""
        return self._watch.error or self._sound.complaint

    def _accept(self, content: bytes) -> None:
        flags, segments = _parse(content)
        self._sound.take_all(flags, segments, age_s=self.age_s)
        _tell_valid(self._sink)


def _parse(content: bytes) -> tuple[JsonValue, JsonValue]:
    try:
        document = json.loads(content)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(document, dict):
        raise ValueError("holds no flags")
    return document.get("flags"), document.get("segments", {})


def _tell_valid(sink: Any) -> None:
    from ldclient.interfaces import DataSourceState

    if hasattr(sink, "update_status"):
        sink.update_status(DataSourceState.VALID, None)
