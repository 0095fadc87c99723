"""Flags from a file, through an update processor of our own.

The SDK's file source is not safe:
with `watchdog` it misses atomic renames or reloads without end, it empties the store for a valid `{}`, and it
parses JSON as YAML wherever PyYAML happens to be installed.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from rollout.core.flagmodel import UnsoundFlagError, check_evaluable, when_off
from rollout.integrations.evaluator.reader import FlagReader
from rollout.watch import POLL_S, FileWatch

if TYPE_CHECKING:
    from ldclient.interfaces import DataSourceUpdateSink, FeatureStore


class FlagFileReader(FlagReader):
    """FlagReader over a flag file. Nothing leaves the process: no events, no stream, no diagnostics."""

    def __init__(self, path: Path, *, poll_s: float = POLL_S) -> None:
        from ldclient import LDClient
        from ldclient.config import Config
        from ldclient.feature_store import InMemoryFeatureStore

        store = InMemoryFeatureStore()
        feed = _FlagFileFeed(path, poll_s)
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

    def __init__(self, path: Path, poll_s: float) -> None:
        self._watch = FileWatch(path, self._accept, poll_s=poll_s)
        self._sink: DataSourceUpdateSink | None = None
        self._ready: threading.Event | None = None
        self._flags: dict[str, dict[str, JsonValue]] = {}
        self._kept_since: dict[str, float] = {}
        self._complaint: str | None = None

    def attach(self, config: Any, store: FeatureStore, ready: threading.Event) -> _FlagFileFeed:
        """What the SDK calls to make its update processor."""
        self._sink = config.data_source_update_sink or store
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
        return bool(self._flags)

    @property
    def ready(self) -> bool:
        """Whether any content was ever good."""
        return self.initialized()

    @property
    def age_s(self) -> float:
        """Seconds since the file was last seen to hold what is in force."""
        return self._watch.age_s

    def age_of(self, key: str) -> float:
        """The same for one flag: what was kept because the file spoils it ages, however fresh the file is."""
        since = self._kept_since.get(key)
        return self.age_s if since is None else max(self.age_s, time.monotonic() - since)

    @property
    def error(self) -> str | None:
        """Why the file, or one of its flags, is not in force."""
        return self._watch.error or self._complaint

    def _accept(self, content: bytes) -> None:
        from ldclient.versioned_data_kind import FEATURES, SEGMENTS

        flags, segments = _parse(content)
        groups, complaints = _decodable(segments)
        complaints += [f"flag {key} is gone" for key in self._flags if key not in flags]
        sound: dict[str, dict[str, JsonValue]] = {}
        for key, flag in flags.items():
            try:
                sound[key] = _evaluable(key, flag)
                self._kept_since.pop(key, None)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                # One flag spoilt by hand must not hold up the roll-back of another.
                complaints.append(f"flag {key} {error}")
                if key in self._flags:
                    sound[key] = self._flags[key]
                    self._kept_since.setdefault(key, time.monotonic())
        if not sound:
            raise ValueError("; ".join(complaints))
        assert self._sink is not None
        self._sink.init({FEATURES: sound, SEGMENTS: groups})
        self._flags, self._complaint = sound, "; ".join(complaints) or None
        _tell_valid(self._sink)


def _parse(content: bytes) -> tuple[Mapping[str, JsonValue], dict[str, JsonValue]]:
    try:
        document = json.loads(content)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    flags = document.get("flags") if isinstance(document, dict) else None
    segments = document.get("segments", {}) if isinstance(document, dict) else None
    if not isinstance(flags, dict) or not flags:
        # `{}` is what a half-finished script writes. It must not move every user at once.
        raise ValueError("holds no flags")
    if not isinstance(segments, dict):
        raise ValueError("holds segments that are not an object")
    return flags, segments


def _evaluable(key: str, flag: JsonValue) -> dict[str, JsonValue]:
    from ldclient.versioned_data_kind import FEATURES

    if not isinstance(flag, dict):
        raise UnsoundFlagError("is not an object")
    if flag.get("on") is False and flag.get("offVariation") == 0:
        return when_off(key, flag)
    check_evaluable(key, flag)
    FEATURES.decode(flag)  # raises where the SDK itself would refuse the whole file
    return flag


def _decodable(segments: Mapping[str, JsonValue]) -> tuple[dict[str, JsonValue], list[str]]:
    from ldclient.versioned_data_kind import SEGMENTS

    sound: dict[str, JsonValue] = {}
    complaints: list[str] = []
    for key, segment in segments.items():
        try:
            SEGMENTS.decode(segment)
        except (ValueError, TypeError, KeyError, AttributeError):
            complaints.append(f"segment {key} is malformed")
        else:
            sound[key] = segment
    return sound, complaints


def _tell_valid(sink: Any) -> None:
    from ldclient.interfaces import DataSourceState

    if hasattr(sink, "update_status"):
        sink.update_status(DataSourceState.VALID, None)
