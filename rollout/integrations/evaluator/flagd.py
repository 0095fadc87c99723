"""Flags from a file of flagd's, evaluated by flagd's own provider in file mode, from a checked copy.

Left alone with the file, the provider is not safe: for a valid `{}` it forgets all flags at once and says that it is
ready; a file that was replaced by one with an older time it never reads; an unknown field in somebody else's flag makes
it refuse all of them; and it draws by whatever somebody wrote into a flag by hand. So it is given a copy, with nothing
in it but sound dials and the last sound form of others, which is always newer than the one before.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from rollout.core.flag import Slot
from rollout.core.flagdmodel import NOTICED_NS, read_dial, version, when_off
from rollout.core.flagmodel import UnsoundFlagError
from rollout.durable import exclusive, replace
from rollout.errors import RolloutError, Unavailable
from rollout.integrations.evaluator.inforce import InForce, Item
from rollout.integrations.evaluator.openfeature import OpenFeatureReader
from rollout.ports import FlagDataStatus, SlotDecision
from rollout.watch import POLL_S, FileWatch

if TYPE_CHECKING:
    from openfeature.provider import AbstractProvider

_MOST_COMPLAINTS = 5


class FlagdReader:
    """FlagReader over flagd's file. A decision goes with the version that the provider made it by."""

    def __init__(self, path: Path, *, poll_s: float = POLL_S) -> None:
        self._path, self._poll_s = path, poll_s
        self._in_force = InForce()
        self._copied_at: dict[str, float] = {}
        self._made: AbstractProvider | None = None
        self._begin()
        self._reader = OpenFeatureReader(self._provider, keys=lambda: self._in_force.flags, patience_s=None)

    def slot(self, key: str, context_key: str | None) -> SlotDecision:
        """The slot for a request; `stable` on any doubt, with the reason."""
        if not self._in_force.flags:
            return SlotDecision(slot=Slot.STABLE, version=None, reason="CLIENT_NOT_READY")
        return self._reader.slot(key, context_key)

    def age_s(self, key: str) -> float:
        """Seconds since what is in force of a flag was last seen in the file, and the provider evaluated by it."""
        now = time.monotonic()
        refused_s = now - self._in_force.kept_since.get(key, now)
        return max(self._watch.age_s, refused_s, self._reader.age_s(key), self._behind_s(key, now))

    def status(self) -> FlagDataStatus:
        """How fresh the data is, which versions the provider evaluates by, and why a newer content is not in force."""
        status = self._reader.status()
        return FlagDataStatus(
            ready=status.ready and bool(self._in_force.flags),
            age_s=max(self._watch.age_s, status.age_s),
            error=self._watch.error or _told(self._in_force) or status.error,
            versions=status.versions,
            source="file",
        )

    def close(self) -> None:
        """Stop watching."""
        self._watch.stop()
        self._reader.close()
        if self._made is not None:
            self._made.shutdown()
        # The provider looks once more before it ends, and would write into the log that its file is gone.
        time.sleep(2 * self._poll_s)
        self._copy.remove()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._copy = _Copy()
        self._watch = FileWatch(self._path, self._accept, poll_s=self._poll_s)
        self._watch.start()

    def _provider(self) -> AbstractProvider:
        if os.getpid() != self._process:
            # After a fork: the watch stayed behind in the parent, and the copy is the parent's.
            self._begin()
        from openfeature.contrib.provider.flagd import FlagdProvider
        from openfeature.contrib.provider.flagd.config import ResolverType

        # In file mode the deadline is how often the provider looks at the time of its file.
        self._made = FlagdProvider(
            resolver_type=ResolverType.FILE,
            offline_flag_source_path=str(self._copy.path),
            deadline_ms=max(1, round(self._poll_s * 1000)),
        )
        return self._made

    def _accept(self, content: bytes) -> None:
        now = _sound(_parse(content), self._in_force, self._watch.age_s)
        self._copy.write(now.flags)
        at = time.monotonic()
        for key in now.flags:
            if now.flags[key] != self._in_force.flags.get(key) and not self._is_behind(key):
                self._copied_at[key] = at
        self._in_force = now

    def _is_behind(self, key: str) -> bool:
        flag = self._in_force.flags.get(key)
        return flag is not None and self._reader.seen(key) != version(flag)

    def _behind_s(self, key: str, now: float) -> float:
        return now - self._copied_at.get(key, now) if self._is_behind(key) else 0.0


class _Copy:
    """A private file of this process, which its provider reads."""

    def __init__(self) -> None:
        try:
            self._folder = Path(tempfile.mkdtemp(prefix="rollout-flagd-"))
        except OSError as error:
            advice = "Name a folder that can be written in TMPDIR."
            raise Unavailable(
                f"flagd's provider needs a temporary file: {error.strerror}", advice=advice
            ) from error
        self.path = self._folder / "flags.json"
        self.write({})

    def write(self, flags: Mapping[str, Item]) -> None:
        """Replace it by a newer one. Raises ValueError, for a watch keeps what was in force before."""
        try:
            with exclusive(self.path) as target:
                before = target.stat().st_mtime_ns if target.exists() else 0
                replace(target, json.dumps({"flags": flags}).encode(), newer_than_ns=before + NOTICED_NS)
        except (OSError, RolloutError) as error:
            raise ValueError("cannot be copied for flagd's provider") from error

    def remove(self) -> None:
        """Leave nothing behind."""
        shutil.rmtree(self._folder, ignore_errors=True)


def _parse(content: bytes) -> dict[str, JsonValue]:
    try:
        document = json.loads(content)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    flags = document.get("flags") if isinstance(document, dict) else None
    if not isinstance(flags, dict) or not flags:
        # `{}` is what a half-finished script writes. It must not move every user at once.
        raise ValueError("holds no flags")
    return flags


def _sound(flags: Mapping[str, JsonValue], older: InForce, age_s: float) -> InForce:
    """The dials among the flags. Those of others are left out: they can give nobody a candidate."""
    now = InForce()
    for key, flag in flags.items():
        if key not in older.flags and not _gives_candidate(flag):
            continue
        try:
            now.take(key, _dial(key, flag), dial=True)
        except UnsoundFlagError as error:
            now.keep(key, older, str(error), age_s)
    for key in older.flags.keys() - flags.keys():
        now.complaints[f"flag {key}"] = f"flag {key} is gone"
    if not now.flags:
        raise ValueError(_told(now) or "holds no flags of ours")
    return now


def _told(in_force: InForce) -> str:
    return "; ".join(list(in_force.complaints.values())[:_MOST_COMPLAINTS])


def _dial(key: str, flag: JsonValue) -> Item:
    if not isinstance(flag, dict):
        raise UnsoundFlagError("is not an object")
    if flag.get("state") == "DISABLED":
        return when_off(flag)
    read_dial(key, flag)
    return flag


def _gives_candidate(flag: JsonValue) -> bool:
    variants = flag.get("variants") if isinstance(flag, dict) else None
    return isinstance(variants, dict) and Slot.CANDIDATE.value in variants
