"""Flags in one JSON file, in LaunchDarkly's own flag model: the embedded dial that needs no account.

JSON only: of a YAML file cut off at any byte, almost half of the cuts still parse. One writer at a time, and
the file is replaced whole: a gateway reads the old flags or the new ones and never something between.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import JsonValue

from rollout.core.flag import HIGHEST, FlagState
from rollout.core.flagcheck import FlagCheck, Standing
from rollout.core.flagmodel import (
    MARK,
    UnsoundFlagError,
    check_nothing_in_front,
    check_slots,
    fallthrough,
    fresh_flag,
    is_taken_back,
    read_dial,
)
from rollout.core.plan import Share
from rollout.durable import exclusive, replace
from rollout.errors import FlagConflict, FlagUnavailable, Unavailable, WorldChanged

_Flag = dict[str, JsonValue]
_LONGEST_NOTE = 500


@dataclass(frozen=True, slots=True)
class _Document:
    """The file: its flags, and whatever else stands in it and must be kept."""

    flags: _Flag
    rest: _Flag


class _CorruptFileError(ValueError):
    """The file is there and is not a flag file."""


class FlagFile:
    """FlagStore over a flag file; `path` may be a symbolic link and need not exist yet."""

    def __init__(self, path: Path, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._path = path
        self._now = now

    def __repr__(self) -> str:
        return f"FlagFile({str(self._path)!r})"

    def read(self, key: str) -> FlagState | None:
        """The flag now. Raises WorldChanged if the file or the flag is not as we write them."""
        flag = self._flag(self._load(), key)
        return None if flag is None else self._state(key, flag)

    def create(self, key: str, *, by: str) -> FlagState:
        """Make the flag, off, with a salt that it keeps for ever; an existing flag is left alone."""
        with self._writing() as target:
            document = self._load()
            flag = self._flag(document, key)
            if flag is None:
                flag = fresh_flag(key, secrets.token_hex(16))
                self._store(target, document, key, flag, by=by, comment="created")
            return self._state(key, flag)

    def write(
        self, key: str, share: Share, *, turn_on: bool, expect_version: int | None, by: str, comment: str
    ) -> FlagState:
        """Set the share. A write that changes nothing leaves the version where it is.

        Raises FlagUnavailable if there is no flag, FlagConflict if it has moved past `expect_version`,
        WorldChanged if it is not as we write it.
        """
        with self._writing() as target:
            document = self._load()
            flag = self._flag(document, key)
            if flag is None:
                raise FlagUnavailable(f"there is no flag {key} in {self._path}")
            state = self._state(key, flag)
            if expect_version is not None and state.version != expect_version:
                raise FlagConflict(
                    f"flag {key} is at version {state.version}, not {expect_version}:"
                    f" changed by {state.changed_by}"
                )
            changed = self._turned(key, flag, state, share, turn_on=turn_on)
            if changed != flag:
                self._store(target, document, key, changed, by=by, comment=comment)
            return self._state(key, changed)

    def preview(self, key: str, share: Share, *, turn_on: bool) -> FlagState:
        """What `write` would make of the flag as it is now. Raises what it would raise."""
        flag = self._flag(self._load(), key)
        if flag is None:
            raise FlagUnavailable(f"there is no flag {key} in {self._path}")
        return self._state(key, self._turned(key, flag, self._state(key, flag), share, turn_on=turn_on))

    def checks(self, key: str) -> Sequence[FlagCheck]:
        """Whether the file can be read, the flag is there, and it is the dial we know."""
        try:
            state = self.read(key)
        except FlagUnavailable as error:
            return [_check("reachable", Standing.UNKNOWN, error.message, error.advice)]
        except WorldChanged as error:
            return [_check("sound", Standing.BLOCKED, error.message, error.advice)]
        if state is None:
            advice = f"`rollout flag setup` makes it, and so does the first tick of {key}."
            return [_check("exists", Standing.BLOCKED, f"there is no flag {key} in {self._path}", advice)]
        said = f"two slots, stable first, {'on' if state.on else 'off'} at {state.share}"
        return [_check("exists", Standing.OK, str(self._path)), _check("sound", Standing.OK, said)]

    def _turned(self, key: str, flag: _Flag, state: FlagState, share: Share, *, turn_on: bool) -> _Flag:
        """The flag with another share, and a higher version if that changes anything."""
        self._sound(key, check_nothing_in_front, flag)
        changed: _Flag = {**flag, "on": state.on or turn_on, "fallthrough": fallthrough(share)}
        return changed if changed == flag else {**changed, "version": state.version + 1}

    def take_back(self, key: str, *, by: str, comment: str) -> FlagState:
        """Off and fallthrough stable, whatever else was done to the flag: off overrides rules and targets.

        Raises FlagUnavailable if there is no such flag or the file cannot be read, WorldChanged if the flag's
        variations are not our slots, for then nobody knows what *off* serves.
        """
        with self._writing() as target:
            try:
                document = self._parse()
            except _CorruptFileError as error:
                raise FlagUnavailable(
                    f"{self._path} {error}; gateways keep what they read last",
                    advice="Restore the file, or take the candidate out of the routes.",
                ) from error
            flag = self._flag(document, key)
            if flag is None:
                raise FlagUnavailable(f"there is no flag {key} in {self._path}: gateways serve stable for it")
            self._sound(key, check_slots, flag)
            version = flag.get("version")
            counted = version if type(version) is int and 1 <= version < HIGHEST else 0
            if is_taken_back(flag) and counted and flag.get("key") == key:
                return self._state(key, flag)
            changed: _Flag = {
                **flag,
                "key": key,
                "on": False,
                "offVariation": 0,
                "fallthrough": fallthrough(Share.ZERO),
                "version": counted + 1,
            }
            self._store(target, document, key, changed, by=by, comment=comment)
            return self._state(key, changed)

    @contextmanager
    def _writing(self) -> Iterator[Path]:
        try:
            with exclusive(self._path) as target:
                yield target
        except FlagUnavailable:
            raise
        except Unavailable as error:
            raise FlagUnavailable(error.message, advice=error.advice) from error

    def _load(self) -> _Document:
        try:
            return self._parse()
        except _CorruptFileError as error:
            raise WorldChanged(
                f"{self._path} {error}", advice="Restore the flag file from what is known to be good."
            ) from error

    def _parse(self) -> _Document:
        """The document; an empty one if there is no file. Raises _CorruptFileError."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return _Document({}, {"segments": {}})
        except OSError as error:
            raise FlagUnavailable(f"{self._path} cannot be read: {error.strerror}") from error
        try:
            document = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise _CorruptFileError("is not JSON") from error
        flags = document.pop("flags", None) if isinstance(document, dict) else None
        if not isinstance(flags, dict):
            raise _CorruptFileError("holds no flags")
        return _Document(flags, document)

    def _flag(self, document: _Document, key: str) -> _Flag | None:
        if key not in document.flags:
            return None
        flag = document.flags[key]
        if not isinstance(flag, dict):
            raise WorldChanged(f"flag {key} in {self._path} is not an object")
        return flag

    def _state(self, key: str, flag: _Flag) -> FlagState:
        try:
            dial = read_dial(key, flag)
        except UnsoundFlagError as error:
            raise self._drift(key, error) from error
        return FlagState(
            key=key,
            version=dial.version,
            on=dial.on,
            share=dial.share,
            changed_by=dial.by if dial.by is not None else "unknown",
            read_at=self._now(),
            cohort=dial.cohort,
        )

    def _sound(self, key: str, check: Callable[[_Flag], None], flag: _Flag) -> None:
        try:
            check(flag)
        except UnsoundFlagError as error:
            raise self._drift(key, error) from error

    def _drift(self, key: str, error: UnsoundFlagError) -> WorldChanged:
        return WorldChanged(
            f"flag {key} in {self._path} {error}",
            advice="Someone edited the flag by hand. Undo the edit, or take the release back.",
        )

    def _store(
        self, target: Path, document: _Document, key: str, flag: _Flag, *, by: str, comment: str
    ) -> None:
        at = self._now().isoformat()
        flag[MARK] = {"by": by[:_LONGEST_NOTE], "comment": comment[:_LONGEST_NOTE], "at": at}
        whole = {"flags": {**document.flags, key: flag}, **document.rest}
        content = json.dumps(whole, indent=2) + "\n"
        try:
            replace(target, content.encode())
        except OSError as error:
            raise FlagUnavailable(f"{self._path} cannot be written: {error.strerror}") from error


def _check(id_: str, standing: Standing, detail: str, advice: str = "") -> FlagCheck:
    return FlagCheck(id=id_, standing=standing, detail=detail, advice=advice)
