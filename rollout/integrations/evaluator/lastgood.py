"""The last sound flags on disk, to start with while the service that they come from is away."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from rollout.digests import open_plain
from rollout.durable import exclusive, replace
from rollout.errors import RolloutError

SCHEMA: Literal["adapter-rollout/last-good-flags/v1"] = "adapter-rollout/last-good-flags/v1"
_LARGEST = 64 * 1024 * 1024
_PAUSE_S = 1.0
_CLOCKS_DIFFER_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Flags as they were in force when they were last confirmed, in Unix seconds; `older` were so at a time of their own."""

    flags: Mapping[str, dict[str, JsonValue]]
    segments: Mapping[str, dict[str, JsonValue]]
    environment: str | None
    confirmed_at: float
    older: Mapping[str, float] = field(default_factory=dict)


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    schema_: Literal["adapter-rollout/last-good-flags/v1"]
    scope: str
    salt: str
    sdk_key: str
    environment: str | None
    confirmed_at: float
    older: dict[str, float]
    flags: dict[str, dict[str, JsonValue]]
    segments: dict[str, dict[str, JsonValue]]


class LastGood:
    """One file, for the owner's eyes, written by a thread of its own and at most once a second.

    It belongs to the `scope` (a project and an environment) and the SDK key that its flags came with, of which it
    holds a salted digest. Nothing that happens to it is an exception: what is wrong stands in `error`.
    """

    def __init__(self, path: Path, *, sdk_key: str, scope: str, pause_s: float = _PAUSE_S) -> None:
        self._path = path
        self._sdk_key = sdk_key
        self._scope = scope
        self._pause_s = pause_s
        self._newest: Kept | None = None
        self._wanted = threading.Event()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self.error: str | None = None
        """Why it could not be read or written."""

    def __repr__(self) -> str:
        return f"LastGood({str(self._path)!r})"

    def start(self) -> None:
        """Begin to write what is kept, in this process."""
        self._wanted, self._stopped = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="last good flags", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write what is left and stop."""
        self._stopped.set()
        self._wanted.set()
        if self._thread is not None and self._thread.is_alive():
            self._thread.join(timeout=5.0)

    def keep(self, kept: Kept) -> None:
        """Take what is to be in the file soon; never waits."""
        self._newest = kept
        self._wanted.set()

    def read(self) -> Kept | None:
        """What the file holds; None if there is none, or none that may be used."""
        try:
            kept = self._checked(_Document.model_validate(_loaded(self._path)))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            self.refuse(_why(error))
            return None
        return kept

    def refuse(self, why: str) -> None:
        """What was read cannot be used."""
        self.error = f"the last good flags cannot be used: {why}"

    def _checked(self, document: _Document) -> Kept:
        if document.scope != self._scope:
            raise ValueError("they are of another project or environment")
        if not hmac.compare_digest(document.sdk_key, _digest(document.salt, self._sdk_key)):
            raise ValueError("they came with another SDK key")
        if max(document.confirmed_at, *document.older.values(), 0.0) > time.time() + _CLOCKS_DIFFER_S:
            # Nobody can tell how old they are.
            raise ValueError("they are from the future")
        return Kept(
            flags=document.flags,
            segments=document.segments,
            environment=document.environment,
            confirmed_at=document.confirmed_at,
            older=document.older,
        )

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._wanted.wait()
            self._wanted.clear()
            self._write()
            self._stopped.wait(self._pause_s)
        self._write()

    def _write(self) -> None:
        kept, self._newest = self._newest, None
        if kept is None:
            return
        try:
            self._replace(self._content(kept))
        except RolloutError as error:
            self.error = f"the last good flags cannot be kept: {error.message}"
        except (OSError, ValueError) as error:
            self.error = f"the last good flags cannot be kept: {_why(error)}"
        else:
            self.error = None

    def _replace(self, content: bytes) -> None:
        with exclusive(self._path) as target:
            # A link in its place would have us write where somebody else wants it.
            if target != self._path.parent.resolve() / self._path.name:
                raise ValueError(f"{self._path.name} is a link")
            replace(target, content, private=True)

    def _content(self, kept: Kept) -> bytes:
        salt = os.urandom(16).hex()
        document = {
            "schema_": SCHEMA,
            "scope": self._scope,
            "salt": salt,
            "sdk_key": _digest(salt, self._sdk_key),
            "environment": kept.environment,
            "confirmed_at": kept.confirmed_at,
            "older": dict(kept.older),
            "flags": dict(kept.flags),
            "segments": dict(kept.segments),
        }
        return json.dumps(document, separators=(",", ":")).encode()


def _digest(salt: str, sdk_key: str) -> str:
    return hashlib.sha256(f"{salt}.{sdk_key}".encode()).hexdigest()


def _loaded(path: Path) -> Any:
    with open_plain(path) as file:
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise ValueError("too large")
    return json.loads(content)


def _why(error: Exception) -> str:
    """A sentence without any content of the file."""
    match error:
        case OSError():
            return error.strerror or type(error).__name__
        case ValidationError():
            return "they are not what we write"
        case json.JSONDecodeError() | UnicodeDecodeError() | RecursionError():
            return "the file is no JSON"
        case _:
            return str(error)
