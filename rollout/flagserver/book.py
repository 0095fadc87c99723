"""The content of the flag file: the flags as SDKs see them, and the records of what only the REST API knows.

A change made by somebody else (an editor, the command line) is settled when it is met: it gets a record, an entry
in the audit log, and a version above every one that was ever streamed, for an SDK ignores anything else.
"""

from __future__ import annotations

import copy
import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec

from rollout.core.flag import HIGHEST
from rollout.core.flagmodel import MARK
from rollout.flagserver.salvage import salvage

Json = dict[str, Any]

RECORDS: Final = "x-launchdarkly"
"""The member of the file that holds what the SDKs' model does not."""

UNKNOWN: Final = "unknown"
"""Who changed a flag, where nobody said so."""

_LONGEST_LOG: Final = 200
_ID_SPACE: Final = uuid.UUID("6b1c5f0e-8b8b-5b0a-9d51-6f3f1c1d2a47")


@dataclass(kw_only=True)
class Book:
    """The file's content. A book that was shown to others is never changed: a change is made on a fresh one."""

    flags: dict[str, Json]
    rest: Json = field(default_factory=lambda: {"segments": {}})
    environment: Json = field(default_factory=dict)
    records: dict[str, Json] = field(default_factory=dict)
    archived: dict[str, Json] = field(default_factory=dict)  # flags that SDKs are not shown
    gone: dict[str, int] = field(default_factory=dict)  # the highest version that a deleted flag ever had
    audit: list[Json] = field(default_factory=list)
    approvals: list[Json] = field(default_factory=list)
    scheduled: list[Json] = field(default_factory=list)

    @classmethod
    def parse(cls, content: bytes) -> Book:
        """Raises ValueError for anything that is no flag file."""
        document = read_json(content)
        if not isinstance(document, dict) or not isinstance(document.get("flags"), dict):
            raise ValueError("holds no flags")
        records = document.pop(RECORDS, {})
        if not _are_records(records):
            raise ValueError(f"holds spoilt records in {RECORDS}")
        kept = salvage({name: records[name] for name in _MEMBERS if name in records})
        return cls(flags=document.pop("flags"), rest=document, **kept)

    def render(self) -> bytes:
        """The file. Flags are laid out for people, records on one line each: they are many."""
        shown = msgspec.json.format(msgspec.json.encode({"flags": self.flags, **self.rest}), indent=2)
        records = b",\n".join(
            b'    "%s": %s' % (name.encode(), msgspec.json.encode(getattr(self, name))) for name in _MEMBERS
        )
        return b'%s,\n  "%s": {\n%s\n  }\n}\n' % (shown[: -len("}")].rstrip(), RECORDS.encode(), records)

    def flag(self, key: str) -> Json | None:
        """A flag as SDKs see it, archived or not."""
        found = self.flags.get(key, self.archived.get(key))
        return found if is_flag(key, found) else None

    def record(self, key: str) -> Json:
        """What else is known of a flag; made up where nobody ever said it, and the same each time."""
        flag = self.flag(key)
        assert flag is not None
        record = {**_fresh_record(key), **self.records.get(key, {})}
        known = record.get("variations", [])
        record["variations"] = [
            known[index] if index < len(known) else self._variation(key, index, value)
            for index, value in enumerate(flag["variations"])
        ]
        return record

    def note(self, entry: Json) -> None:
        """Add to the audit log, newest last; the oldest entries make room."""
        self.audit = [*self.audit, entry][-_LONGEST_LOG:]

    def _variation(self, key: str, index: int, value: Any) -> Json:
        place = f"{self.environment.get('id')}/{key}/{index}/{json.dumps(value)}"
        return {"_id": str(uuid.uuid5(_ID_SPACE, place)), "name": str(value)}


def read_json(content: bytes) -> Any:
    """A JSON document. Raises ValueError for what is none: no number but JSON's, no text that is not Unicode."""
    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise ValueError("is not JSON") from error


_MEMBERS: Final = ("environment", "records", "archived", "gone", "audit", "approvals", "scheduled")
_IN_FRONT: Final = ("targets", "contextTargets", "rules", "prerequisites")


def is_flag(key: str, flag: Any) -> bool:
    """Whether something in the file is a flag that an SDK could be given."""
    return (
        isinstance(flag, dict)
        and flag.get("key") == key
        and type(flag.get("version")) is int
        and 0 < flag["version"] <= HIGHEST
        and isinstance(flag.get("on"), bool)
        and isinstance(flag.get("variations"), list)
        and isinstance(flag.get("fallthrough"), dict)
        and isinstance(flag.get("salt"), str)
        and all(_are_objects(flag.get(part) or []) for part in _IN_FRONT)
    )


def _are_objects(found: Any) -> bool:
    return isinstance(found, list) and all(isinstance(one, dict) for one in found)


def sdk_form(flag: Mapping[str, Any]) -> Json:
    """The flag as it is streamed: without who changed it and why."""
    return {name: value for name, value in flag.items() if name != MARK}


def replace_flags(known: Book, read: Book) -> Book:
    """What was read, with the records that are known."""
    return replace(copy.deepcopy(known), flags=read.flags, rest=read.rest)


def settle(book: Book, shown: Mapping[str, Json], now_ms: int) -> bool:
    """Take in what others changed since the records were written; the answer is whether anything was.

    `shown` are the flags that are streamed now: one that somebody spoilt stays as it was in there.
    """
    changed = False
    for key, flag in list(book.flags.items()):
        if is_flag(key, flag) and _is_news(book, key, flag, shown.get(key)):
            _adopt(book, key, flag, shown.get(key, {}).get("version", 0), now_ms)
            changed = True
    for key in [key for key in book.records if key not in book.flags and key not in book.archived]:
        book.gone[key] = _highest(book, key, shown)
        del book.records[key]
        book.note(entry(key, now_ms, by=UNKNOWN, title="deleted the flag", comment=""))
        changed = True
    return changed


def stamp(book: Book, key: str, now_ms: int, *, version: int) -> None:
    """Write into a flag's record that this is how we left it."""
    flag = book.flag(key)
    assert flag is not None
    flag["version"] = version
    record = book.record(key)
    record |= {"seen": _digest(flag), "highest": version, "lastModified": now_ms}
    record["version"] = record.get("version", 0) + 1
    book.records[key] = record
    book.gone.pop(key, None)


def version_after(version: int) -> int:
    """The next one; after the highest that there is it begins anew, and SDKs are given everything."""
    return version + 1 if version < HIGHEST else 1


def entry(key: str, now_ms: int, *, by: str, title: str, comment: str, **more: Any) -> Json:
    """One line of the audit log."""
    return {
        "id": uuid.uuid4().hex[:24],
        "at": now_ms,
        "flag": key,
        "by": by,
        "title": title,
        "comment": comment,
    } | more


def _is_news(book: Book, key: str, flag: Json, streamed: Json | None) -> bool:
    if _digest(flag) != book.records.get(key, {}).get("seen"):
        return True
    # An old copy of the whole file came back, with the records of its time.
    return streamed is not None and streamed != sdk_form(flag) and flag["version"] <= streamed["version"]


def _adopt(book: Book, key: str, flag: Json, streamed: int, now_ms: int) -> None:
    highest = max(streamed, book.records.get(key, {}).get("highest", book.gone.get(key, 0)))
    book.archived.pop(key, None)
    mark = flag.get(MARK)
    said = mark if isinstance(mark, dict) else {}
    new = key not in book.records
    stamp(book, key, now_ms, version=max(flag["version"], version_after(highest)))
    if new:
        book.records[key]["creationDate"] = now_ms
    by, comment = str(said.get("by", UNKNOWN)), str(said.get("comment", ""))
    title = "created the flag" if new else "changed the flag file"
    book.note(entry(key, now_ms, by=by, title=title, comment=comment, version=flag["version"]))


def _highest(book: Book, key: str, shown: Mapping[str, Json]) -> int:
    return version_after(max(book.records[key].get("highest", 0), shown.get(key, {}).get("version", 0)))


def _fresh_record(key: str) -> Json:
    return {
        "name": key,
        "description": "",
        "tags": [],
        "temporary": True,
        "creationDate": 0,
        "lastModified": 0,
        "customProperties": {},
    }


def _digest(flag: Mapping[str, Any]) -> str:
    content = msgspec.json.encode(sdk_form(flag), order="sorted")
    return hashlib.sha256(content).hexdigest()[:16]


def _are_records(records: Any) -> bool:
    if not isinstance(records, dict) or not isinstance(records.get("environment", {}), dict):
        return False
    by_key = [records.get(name, {}) for name in ("records", "archived")]
    listed = [records.get(name, []) for name in ("audit", "approvals", "scheduled")]
    gone = records.get("gone", {})
    return (
        all(isinstance(each, dict) and all(isinstance(one, dict) for one in each.values()) for each in by_key)
        and all(_are_objects(each) for each in listed)
        and isinstance(gone, dict)
        and all(type(version) is int for version in gone.values())
    )
