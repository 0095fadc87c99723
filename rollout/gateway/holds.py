"""The kill path: adapters that get no request any more, whatever the flag says, until somebody lifts it.

A kill names a served adapter, whose name holds its digest: it cannot touch a later release. It stands in a file
beside the routes, so that it outlives the gateway and reaches every gateway that shares the folder.
"""

from __future__ import annotations

import json
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
    """The served adapters that are held back. Looking is in memory; a hold is in force before it is on disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held: Mapping[str, Hold] = {}
        self._watch = FileWatch(path, self._accept, optional=True)

    def start(self) -> None:
        """Read what is held already, and follow what other gateways of this machine add."""
        self._watch.start()

    def stop(self) -> None:
        """Stop following."""
        self._watch.stop()

    def __contains__(self, served: object) -> bool:
        return served in self._held

    @property
    def held(self) -> Mapping[str, Hold]:
        """All of them."""
        return self._held

    def add(self, served: str, hold: Hold) -> None:
        """Hold an adapter back, here at once and then durably. Raises Unavailable if that could not be written."""
        self._held = {**self._held, served: hold}
        self._write(lambda held: {**held, served: hold})

    def lift(self, served: str) -> bool:
        """Let an adapter have requests again; false if it was not held. Raises Unavailable."""
        known = served in self._held
        self._write(lambda held: {name: hold for name, hold in held.items() if name != served})
        return known

    def _write(self, change: _Change) -> None:
        try:
            with exclusive(self._path) as target:
                held = change({**self._read(target)})
                document = _Holds(held=held).model_dump(mode="json")
                replace(target, json.dumps(document, indent=2).encode() + b"\n")
                self._held = held
        except OSError as error:
            raise Unavailable(
                f"{self._path} cannot be written, so that a restart would forget the hold: {error.strerror}"
            ) from error

    def _read(self, target: Path) -> Mapping[str, Hold]:
        try:
            return _parse(target.read_bytes())
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise Unreadable(f"{self._path}: {error}") from error

    def _accept(self, content: bytes) -> None:
        self._held = _parse(content)


def _parse(content: bytes) -> Mapping[str, Hold]:
    try:
        return _Holds.model_validate_json(content).held
    except ValidationError as error:
        raise ValueError(f"is no list of holds: {error.error_count()} flaws") from error
