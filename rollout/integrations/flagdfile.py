"""Flags in a file of flagd's, which flagd itself and every one of its providers can read.

flagd's file mode has no way to write but the file, so the file is the interface: one lock among our writers, and
replaced whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from pydantic import JsonValue

from rollout.core import flagdmodel
from rollout.core.flagmodel import Dial, UnsoundFlagError
from rollout.core.plan import Share
from rollout.durable import replace
from rollout.flagdocument import Flag, FlagDocument, Note


class FlagdFile(FlagDocument):
    """FlagStore over flagd's JSON file; `path` may be a symbolic link and need not exist yet."""

    def __init__(self, path: Path, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        super().__init__(path, _FlagdModel(), now=now)

    def _put(self, target: Path, content: bytes) -> None:
        """Replace the file by one with a newer time: providers never look at one that is older than the last."""
        before = target.stat().st_mtime_ns if target.exists() else 0
        replace(target, content, newer_than_ns=before + flagdmodel.NOTICED_NS)


class _FlagdModel:
    """Variants by name, what everybody gets, and how keyed users are drawn."""

    empty: Mapping[str, JsonValue] = flagdmodel.EMPTY

    def fresh(self, key: str) -> Flag:  # noqa: ARG002 - a flag of flagd's does not know its own key
        return flagdmodel.fresh_flag()

    def read(self, key: str, flag: Flag) -> Dial:
        return flagdmodel.read_dial(key, flag)

    def turned(self, flag: Flag, share: Share, ring: frozenset[str], *, on: bool) -> Flag:
        if ring:
            raise UnsoundFlagError("cannot name a ring: flagd does not say who was named and who was drawn")
        return flagdmodel.turned(flag, share, on=on)

    def version(self, flag: Flag) -> JsonValue:
        return flagdmodel.version(flag)

    def taken_back(self, key: str, flag: Flag) -> Flag | None:  # noqa: ARG002
        return flagdmodel.taken_back(flag)

    def signed(self, flag: Flag, version: int, note: Note | None) -> Flag:
        said = {} if note is None else {"by": note.by, "comment": note.comment, "at": note.at}
        return flagdmodel.signed(flag, version, said)

    def noted(self, flag: Flag) -> JsonValue:
        return flag.get("metadata")
