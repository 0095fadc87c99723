"""The kill path: adapters that get no request any more, whatever the flag says, until somebody lifts it.

A kill names a served adapter, whose name holds its digest: it cannot touch a later release. It stands in a file
beside the routes, so that it outlives the gateway and reaches every gateway that shares the folder.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from rollout.core.manifest import Document, Line
from rollout.durable import exclusive, replace
from rollout.errors import Unavailable, Unreadable
from rollout.watch import FileWatch


class Hold(Document):
    """Who held an adapter back, and why."""

    by: Line
    reason: Line


class _Holds(Document):
    schema_: Literal["adapter-rollout/holds/v1"] = "adapter-rollout/holds/v1"
    held: dict[Line, Hold]


_Change = Callable[[dict[str, Hold]], dict[str, Hold]]


class Holds:
    """The served adapters that are held back. Looking is in memory; a hold is in force before it is on disk.

    While the file is there and never could be read, nobody knows who is held: every adapter is. No file holds none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept: Mapping[str, Hold] = {}
        # Held and not yet written: no reading of the file may forget them.
        self._unkept: dict[str, Hold] = {}
        self._held: Mapping[str, Hold] = {}
        self._changing = threading.Lock()
        self._watch = FileWatch(path, self._accept, optional=True)
        self._was_read = False

    def start(self) -> None:
        """Read what is held already, and follow what other gateways of this machine add."""
        self._watch.start()

    def stop(self) -> None:
        """Stop following."""
        self._watch.stop()

    def __contains__(self, served: object) -> bool:
        return served in self._held or (not self._was_read and self._watch.error is not None)

    @property
    def error(self) -> str | None:
        """Why the file's present content is not in force, and what that means; None if it is."""
        error = self._watch.error
        if error is None or self._was_read:
            return error
        return f"{error}; until it can be read, or is taken away, every candidate is held"

    @property
    def held(self) -> Mapping[str, Hold]:
        """All of them."""
        return self._held

    def hold(self, served: str, hold: Hold) -> None:
        """Hold an adapter back, here and at once; `keep` writes it down."""
        with self._changing:
            self._unkept[served] = hold
            self._show()

    def keep(self, served: str) -> None:
        """Write a hold down, so that it outlives this process. Raises Unavailable or Unreadable; then it still holds."""
        hold = self._held.get(served)
        if hold is not None:
            self._write(lambda held: {**held, served: hold}, served)

    def add(self, served: str, hold: Hold) -> None:
        """Hold an adapter back, here at once and then durably. Raises Unavailable if that could not be written."""
        self.hold(served, hold)
        self.keep(served)

    def lift(self, served: str) -> bool:
        """Let an adapter have requests again; false if it was not held. Raises Unavailable; then it still holds."""
        known = served in self._held
        self._write(lambda held: {name: hold for name, hold in held.items() if name != served}, served)
        return known

    def _show(self) -> None:
        # A new mapping each time: whoever routes looks at it without the lock.
        self._held = {**self._kept, **self._unkept}

    def _write(self, change: _Change, served: str) -> None:
        try:
            with exclusive(self._path) as target:
                held = change({**read_holds(target)})
                document = _Holds(held=held).model_dump(mode="json")
                replace(target, json.dumps(document, indent=2).encode() + b"\n")
                with self._changing:
                    self._kept = held
                    self._unkept.pop(served, None)
                    self._show()
        except OSError as error:
            raise Unavailable(
                f"{self._path} cannot be written, so that a restart would forget the hold: {error.strerror}"
            ) from error

    def _accept(self, content: bytes) -> None:
        kept = _parse(content)
        with self._changing:
            self._kept = kept
            self._show()
        self._was_read = True


def read_holds(path: Path) -> Mapping[str, Hold]:
    """What is held, by the file. Raises Unreadable."""
    try:
        return _parse(path.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise Unreadable(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise Unreadable(f"{path}: {error}") from error


def _parse(content: bytes) -> Mapping[str, Hold]:
    try:
        return _Holds.model_validate_json(content).held
    except ValidationError as error:
        raise ValueError(f"is no list of holds: {error.error_count()} flaws") from error
