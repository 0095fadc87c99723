"""What of the server's own member of the flag file can be used, after somebody edited it by hand."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from rollout.core.flag import HIGHEST

Json = dict[str, Any]

_LOG = logging.getLogger(__name__)
_RECORD: Final[Mapping[str, type]] = {
    "name": str,
    "description": str,
    "temporary": bool,
    "seen": str,
    "customProperties": dict,
    "evaluated": dict,
    "defaults": dict,
}
_COUNTS: Final = frozenset({"version", "highest", "creationDate", "lastModified", "archivedDate"})
_PLAN: Final[Mapping[str, type]] = {
    "id": str,
    "flag": str,
    "version": int,
    "at": int,
    "by": str,
    "comment": str,
    "instructions": list,
}
_REQUEST: Final[Mapping[str, type]] = {
    "description": str,
    "reviewStatus": str,
    "status": str,
    "reviews": list,
    "notifyMemberIds": list,
    "notifyTeamKeys": list,
}
_REVIEW: Final[Mapping[str, type]] = {"id": str, "kind": str, "at": int, "comment": str, "by": str}
_ENTRY: Final[Mapping[str, type]] = {
    "id": str,
    "at": int,
    "flag": str,
    "by": str,
    "title": str,
    "comment": str,
}


def salvage(members: Json) -> Json:
    """The members without what is malformed in them, which is logged. No flag is among what is dropped."""
    sound = dict(members)
    for name, fits in (("approvals", _is_request), ("scheduled", _is_scheduled), ("audit", _is_entry)):
        if name in sound:
            sound[name] = [one for one in sound[name] if fits(one) or _drop(f"an entry of {name}")]
    if "records" in sound:
        sound["records"] = {key: _record(key, each) for key, each in sound["records"].items()}
    if "gone" in sound:
        sound["gone"] = {
            key: each for key, each in sound["gone"].items() if _is_count(each) or _drop(f"gone/{key}")
        }
    return sound


def _record(key: str, record: Json) -> Json:
    return {
        name: value
        for name, value in record.items()
        if _is_member(name, value) or _drop(f"records/{key}/{name}")
    }


def _is_member(name: str, value: Any) -> bool:
    if name in _COUNTS:
        return _is_count(value)
    if name == "tags":
        return _all(value, str)
    if name == "variations":
        return _all(value, dict) and all(isinstance(one.get("_id"), str) for one in value)
    return type(value) is _RECORD.get(name)


def _is_request(one: Json) -> bool:
    return (
        _is_plan(one)
        and _fits(one, _REQUEST)
        and all(isinstance(said, dict) and _fits(said, _REVIEW) for said in one["reviews"])
        and (one["executionDate"] is not None or one["status"] != "scheduled")
        and ("appliedDate" not in one or "appliedBy" in one)
    )


def _is_scheduled(one: Json) -> bool:
    return _is_plan(one) and one["executionDate"] is not None


def _is_plan(one: Json) -> bool:
    date = one.get("executionDate", "")
    return _fits(one, _PLAN) and _all(one["instructions"], dict) and (date is None or type(date) is int)


def _is_entry(one: Json) -> bool:
    return _fits(one, _ENTRY)


def _fits(one: Json, shape: Mapping[str, type]) -> bool:
    return all(type(one.get(name)) is kind for name, kind in shape.items())


def _all(found: Any, kind: type) -> bool:
    return isinstance(found, list) and all(isinstance(one, kind) for one in found)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= HIGHEST


def _drop(what: str) -> bool:
    _LOG.warning("the flag file's %s is malformed and is dropped", what)
    return False
