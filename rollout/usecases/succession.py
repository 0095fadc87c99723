"""The next version of a manifest: what the new files say is edited in, and what spoke of the old ones goes."""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from rollout.core.document import Located, Pointer
from rollout.core.form import FILES, Scalar, Value, question
from rollout.core.known import Known
from rollout.core.manifest import AdapterManifest
from rollout.errors import Unreadable, Usage

_SEMVER = re.compile(r"(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})\Z")

# What speaks of the bytes of one version: the next one is asked for the first, and loses the others.
_ASKED_ANEW: tuple[Pointer, ...] = (("lineage", "training_commit"), ("change", "purpose"))
_NOT_CARRIED: tuple[Pointer, ...] = (
    ("lineage", "run_url"),
    ("evaluation", "reported"),
    ("evaluation", "human"),
    ("change", "approvals"),
    ("change", "ticket"),
)
_SIGNATURE: Pointer = ("artifact", "signature")
# A name that somebody gave, where the files only suggest one.
_NAMED_ALREADY: Pointer = ("base", "name")


class Bump(StrEnum):
    """Which number of the version is raised."""

    PATCH = "patch"
    MINOR = "minor"
    MAJOR = "major"


class Editing(Protocol):
    """How documents are changed."""

    def edit(
        self,
        content: bytes,
        changes: Mapping[Pointer, Scalar],
        *,
        insert: Mapping[Pointer, Value],
        remove: Collection[Pointer],
    ) -> bytes:
        """The document with other fields, all else as it was. Raises Unreadable where it is not understood."""
        ...

    def render(self, data: Mapping[str, object]) -> bytes:
        """Plain data as a new document."""
        ...


class Next(NamedTuple):
    """A next version, and whether the comments of the one before were lost."""

    content: bytes
    version: str
    comments_lost: bool


def next_version(previous: Located[AdapterManifest], known: Known, bump: Bump, editing: Editing) -> Next:
    """The manifest with what is known of the new files; owner, data and risk are carried over.

    Raises Usage if these are the bytes that it names already.
    """
    there = previous.value
    files = {str(path[-1]): value for path, value in known.items() if path[: len(FILES)] == FILES}
    if there.artifact.files == files:
        raise Usage(f"{previous.source} names these very bytes already, as version {there.version}")
    version = raised(there.version, bump)
    wanted: Known = {
        ("version",): version,
        ("lineage", "parent"): there.version,
        **{pointer: value for pointer, value in known.items() if pointer != _NAMED_ALREADY},
        **{pointer: question(pointer) for pointer in _ASKED_ANEW},
    }
    stale = [*_NOT_CARRIED, *((*FILES, name) for name in there.artifact.files), _SIGNATURE]
    gone = [each for each in stale if each not in wanted and _is_there(previous.data, each)]
    try:
        return Next(_edited(previous, wanted, gone, editing), version, False)
    except Unreadable:
        return Next(_rewritten(previous, wanted, gone, editing), version, True)


def raised(version: str, bump: Bump) -> str:
    """The version after this one. Raises Usage if this is none."""
    match = _SEMVER.match(version)
    if match is None:
        raise Usage(f"{version!r} is not a version like 1.4.0")
    major, minor, patch = map(int, match.groups())
    return {
        Bump.MAJOR: f"{major + 1}.0.0",
        Bump.MINOR: f"{major}.{minor + 1}.0",
        Bump.PATCH: f"{major}.{minor}.{patch + 1}",
    }[bump]


def _edited(
    previous: Located[AdapterManifest],
    wanted: Known,
    gone: Collection[Pointer],
    editing: Editing,
) -> bytes:
    content, data = previous.content, previous.data
    for pointer, value in wanted.items():
        there = _is_there(data, pointer)
        if there and _at(data, pointer) == value:
            continue
        content = _put(content, pointer, value, there, editing)
    return editing.edit(content, {}, insert={}, remove=gone) if gone else content


def _put(content: bytes, pointer: Pointer, value: Value, there: bool, editing: Editing) -> bytes:
    """One field, in its place if that is possible, else anew at the end of its mapping."""
    if there and (value is None or isinstance(value, str | int | float)):
        try:
            return editing.edit(content, {pointer: value}, insert={}, remove=())
        except Unreadable:
            pass
    # No mapping may be empty in between: something keeps the place of what is taken out.
    keeper = (*pointer[:-1], "_")
    if there:
        content = editing.edit(content, {}, insert={keeper: None}, remove=())
        content = editing.edit(content, {}, insert={}, remove=[pointer])
    content = editing.edit(content, {}, insert={pointer: value}, remove=())
    return editing.edit(content, {}, insert={}, remove=[keeper]) if there else content


def _rewritten(
    previous: Located[AdapterManifest],
    wanted: Known,
    gone: Collection[Pointer],
    editing: Editing,
) -> bytes:
    data: Any = copy.deepcopy(dict(previous.data))
    for pointer, value in wanted.items():
        parent = data
        for part in pointer[:-1]:
            parent = parent.setdefault(part, {})
        parent[pointer[-1]] = value
    for pointer in gone:
        del _at(data, pointer[:-1])[pointer[-1]]
    return editing.render(data)


def _is_there(data: Mapping[str, object], pointer: Pointer) -> bool:
    parent = _at(data, pointer[:-1])
    return isinstance(parent, Mapping) and pointer[-1] in parent


def _at(data: Any, pointer: Pointer) -> Any:
    for part in pointer:
        data = data.get(part) if isinstance(data, Mapping) else None
    return data
