"""Flags in one JSON file that is locked and replaced whole: what every flag file shares, whatever its model.

JSON only: of a YAML file cut off at any byte, almost half of the cuts still parse. One writer at a time, and
the file is replaced whole: a gateway reads the old flags or the new ones and never something between.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, TypeVar

from pydantic import JsonValue

from rollout.core.flag import HIGHEST, FlagState
from rollout.core.flagcheck import FlagCheck, Standing
from rollout.core.flagmodel import Dial, UnsoundFlagError
from rollout.core.plan import Share
from rollout.core.ring import NOBODY
from rollout.core.traces import FlagAudit, FlagChange
from rollout.durable import exclusive, replace
from rollout.errors import FlagConflict, FlagUnavailable, Unavailable, WorldChanged

Flag = dict[str, JsonValue]
LONGEST_NOTE = 500

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Who changed a flag, why and when, as the file keeps it."""

    by: str
    comment: str
    at: str


class FlagModel(Protocol):
    """How a flag is spelled in a file. What is not the dial we know raises UnsoundFlagError."""

    @property
    def empty(self) -> Mapping[str, JsonValue]:
        """What a new file holds beside its flags."""
        ...

    def fresh(self, key: str) -> Flag:
        """A flag that was never turned on, at version 1."""
        ...

    def read(self, key: str, flag: Flag) -> Dial:
        """What a sound flag says."""
        ...

    def turned(self, flag: Flag, share: Share, ring: frozenset[str], *, on: bool) -> Flag:
        """A sound flag with another share and ring, refused if what it serves would be anything else."""
        ...

    def version(self, flag: Flag) -> JsonValue:
        """The version of any flag, sound or not."""
        ...

    def taken_back(self, key: str, flag: Flag) -> Flag | None:
        """Any flag with our slots, off and stable and without a ring; None if it is so."""
        ...

    def signed(self, flag: Flag, version: int, note: Note | None) -> Flag:
        """The flag at another version, with who made it so; without a note, who made it before stays."""
        ...

    def noted(self, flag: Flag) -> JsonValue:
        """Who made any flag what it is, as `signed` wrote it, or whatever stands there."""
        ...


@dataclass(frozen=True, slots=True)
class _Content:
    """The file: its flags, and whatever else stands in it and must be kept."""

    flags: Flag
    rest: Flag


class _CorruptFileError(ValueError):
    """The file is there and is not a flag file."""


class FlagDocument:
    """FlagStore over a JSON file with `flags` by key; `path` may be a symbolic link and need not exist yet."""

    def __init__(
        self, path: Path, model: FlagModel, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._path = path
        self._model = model
        self._now = now

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._path)!r})"

    def read(self, key: str) -> FlagState | None:
        """The flag now. Raises WorldChanged if the file or the flag is not as we write them."""
        flag = self._flag(self._load(), key)
        return None if flag is None else self._state(key, flag)

    def create(self, key: str, *, by: str) -> FlagState:
        """Make the flag, off; an existing flag is left alone."""
        with self._writing() as target:
            content = self._load()
            flag = self._flag(content, key)
            if flag is None:
                flag = self._model.signed(self._model.fresh(key), 1, self._note(by, "created"))
                self._store(target, content, key, flag)
            return self._state(key, flag)

    def write(
        self,
        key: str,
        share: Share,
        *,
        turn_on: bool,
        expect_version: int | None,
        by: str,
        comment: str,
        release: str = "",  # noqa: ARG002 - nobody approves here
        ring: frozenset[str] = NOBODY,
    ) -> FlagState:
        """Set share and ring. A write that changes nothing leaves the version where it is.

        Raises FlagUnavailable if there is no flag, FlagConflict if it has moved past `expect_version`,
        WorldChanged if it is not as we write it.
        """
        with self._writing() as target:
            content = self._load()
            flag = self._flag(content, key)
            if flag is None:
                raise FlagUnavailable(f"there is no flag {key} in {self._path}")
            state = self._state(key, flag)
            if expect_version is not None and state.version != expect_version:
                raise FlagConflict(
                    f"flag {key} is at version {state.version}, not {expect_version}:"
                    f" changed by {state.changed_by}"
                )
            changed = self._turned(key, flag, state, share, ring, turn_on=turn_on)
            if changed != flag:
                changed = self._model.signed(changed, state.version + 1, self._note(by, comment))
                self._store(target, content, key, changed)
            return self._state(key, changed)

    def preview(self, key: str, share: Share, *, turn_on: bool, ring: frozenset[str] = NOBODY) -> FlagState:
        """What `write` would make of the flag as it is now. Raises what it would raise."""
        flag = self._flag(self._load(), key)
        if flag is None:
            raise FlagUnavailable(f"there is no flag {key} in {self._path}")
        state = self._state(key, flag)
        changed = self._turned(key, flag, state, share, ring, turn_on=turn_on)
        if changed != flag:
            changed = self._model.signed(changed, state.version + 1, None)
        return self._state(key, changed)

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
        said = f"two slots, stable first, {'on' if state.on else 'off'} at {state.would_reach}"
        return [_check("exists", Standing.OK, str(self._path)), _check("sound", Standing.OK, said)]

    def audit(self, key: str, *, since: datetime, until: datetime) -> FlagAudit:
        """The flag's last change, if it was in that time: the file remembers no other."""
        flag = self._flag(self._load(), key)
        change = None if flag is None else _change(self._model.noted(flag), self._model.version(flag))
        told = (change,) if change is not None and since <= change.at <= until else ()
        return FlagAudit(changes=told, gap="a flag file keeps its last change only")

    def take_back(self, key: str, *, by: str, comment: str) -> FlagState:
        """Off, stable and without a ring, whatever else was done to the flag: off overrides what is in front of it.

        Raises FlagUnavailable if there is no such flag or the file cannot be read, WorldChanged if the flag's
        variations are not our slots, for then nobody knows what *off* serves.
        """
        with self._writing() as target:
            try:
                content = self._parse()
            except _CorruptFileError as error:
                raise FlagUnavailable(
                    f"{self._path} {error}; gateways keep what they read last",
                    advice="Restore the file, or take the candidate out of the routes.",
                ) from error
            flag = self._flag(content, key)
            if flag is None:
                raise FlagUnavailable(f"there is no flag {key} in {self._path}: gateways serve stable for it")
            changed = self._sound(key, lambda: self._model.taken_back(key, flag))
            version = self._model.version(flag)
            counted = version if type(version) is int and 1 <= version < HIGHEST else 0
            if changed is None and counted:
                return self._state(key, flag)
            signed = self._model.signed(changed or flag, counted + 1, self._note(by, comment))
            self._store(target, content, key, signed)
            return self._state(key, signed)

    def _turned(
        self, key: str, flag: Flag, state: FlagState, share: Share, ring: frozenset[str], *, turn_on: bool
    ) -> Flag:
        return self._sound(key, lambda: self._model.turned(flag, share, ring, on=state.on or turn_on))

    @contextmanager
    def _writing(self) -> Iterator[Path]:
        try:
            with exclusive(self._path) as target:
                yield target
        except FlagUnavailable:
            raise
        except Unavailable as error:
            raise FlagUnavailable(error.message, advice=error.advice) from error

    def _load(self) -> _Content:
        try:
            return self._parse()
        except _CorruptFileError as error:
            raise WorldChanged(
                f"{self._path} {error}", advice="Restore the flag file from what is known to be good."
            ) from error

    def _parse(self) -> _Content:
        """The content; an empty one if there is no file. Raises _CorruptFileError."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return _Content({}, dict(self._model.empty))
        except OSError as error:
            raise FlagUnavailable(f"{self._path} cannot be read: {error.strerror}") from error
        try:
            document = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise _CorruptFileError("is not JSON") from error
        flags = document.pop("flags", None) if isinstance(document, dict) else None
        if not isinstance(flags, dict):
            raise _CorruptFileError("holds no flags")
        return _Content(flags, document)

    def _flag(self, content: _Content, key: str) -> Flag | None:
        if key not in content.flags:
            return None
        flag = content.flags[key]
        if not isinstance(flag, dict):
            raise WorldChanged(f"flag {key} in {self._path} is not an object")
        return flag

    def _state(self, key: str, flag: Flag) -> FlagState:
        dial = self._sound(key, lambda: self._model.read(key, flag))
        return FlagState(
            key=key,
            version=dial.version,
            on=dial.on,
            share=dial.share,
            changed_by=dial.by if dial.by is not None else "unknown",
            read_at=self._now(),
            cohort=dial.cohort,
            ring=dial.ring,
        )

    def _sound(self, key: str, look: Callable[[], T]) -> T:
        try:
            return look()
        except UnsoundFlagError as error:
            raise WorldChanged(
                f"flag {key} in {self._path} {error}",
                advice="Someone edited the flag by hand. Undo the edit, or take the release back.",
            ) from error

    def _note(self, by: str, comment: str) -> Note:
        return Note(by=by[:LONGEST_NOTE], comment=comment[:LONGEST_NOTE], at=self._now().isoformat())

    def _store(self, target: Path, content: _Content, key: str, flag: Flag) -> None:
        whole = {"flags": {**content.flags, key: flag}, **content.rest}
        try:
            self._put(target, (json.dumps(whole, indent=2) + "\n").encode())
        except OSError as error:
            raise FlagUnavailable(f"{self._path} cannot be written: {error.strerror}") from error

    def _put(self, target: Path, content: bytes) -> None:
        replace(target, content)


def _check(id_: str, standing: Standing, detail: str, advice: str = "") -> FlagCheck:
    return FlagCheck(id=id_, standing=standing, detail=detail, advice=advice)


def _change(note: JsonValue, version: JsonValue) -> FlagChange | None:
    """What a note says, if it is one."""
    if not isinstance(note, dict):
        return None
    by, said, at = note.get("by"), note.get("comment"), note.get("at")
    if not (isinstance(by, str) and isinstance(said, str) and isinstance(at, str)):
        return None
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        return None
    if moment.tzinfo is None:
        return None
    return FlagChange(at=moment, by=by, said=said, version=version if type(version) is int else None)
