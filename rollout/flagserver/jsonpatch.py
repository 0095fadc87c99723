"""JSON patches (RFC 6902) of a flag as the REST API shows it: `test`, `add`, `replace` and `remove`.

The operations are made on what is shown; what they changed there is then put into the flag, as far as it may be
changed at all.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from rollout.core.document import read_pointer
from rollout.flagserver import shown
from rollout.flagserver.book import Json
from rollout.flagserver.draft import Draft, check_index, checked_fallthrough
from rollout.flagserver.refusal import CONFLICT, TEST_FAILED, Refusal, invalid
from rollout.flagserver.shown import Scope

_IN_FLAG: Final[Mapping[str, type]] = {
    "on": bool,
    "fallthrough": dict,
    "offVariation": int,
    "targets": list,
    "contextTargets": list,
    "prerequisites": list,
    "trackEvents": bool,
    "trackEventsFallthrough": bool,
}
_IN_RECORD: Final[Mapping[str, type]] = {"name": str, "description": str, "tags": list, "temporary": bool}
_ABSENT: Final = object()


def read(body: Any) -> tuple[list[Json], str]:
    """Operations and comment: a bare list, or `{"comment", "patch"}`. Raises Refusal 400."""
    comment = ""
    if isinstance(body, dict) and "patch" in body:
        comment, body = body.get("comment") or "", body["patch"]
    if (
        not isinstance(body, list)
        or not all(isinstance(one, dict) for one in body)
        or not isinstance(comment, str)
    ):
        raise invalid("A JSON patch is a list of operations. A semantic patch needs its own content type.")
    return body, comment


def apply(scope: Scope, draft: Draft, key: str, operations: list[Json]) -> None:
    """Change the draft. Raises Refusal: 422 for an operation that cannot be made, 409 for a test that fails."""
    book = replace(draft.book, flags={**draft.book.flags}, archived={**draft.book.archived})
    before = shown.flag(scope, book, key)
    after = copy.deepcopy(before)
    operate(after, operations)
    _take(draft, before, after, scope.environment)


def operate(document: Json, operations: list[Json]) -> None:
    """Make operations on a document. Raises Refusal 422, and 409 for a test that fails."""
    for operation in operations:
        _operate(document, operation)


def _operate(document: Json, operation: Json) -> None:
    act, path = operation.get("op"), operation.get("path")
    if not isinstance(path, str) or not path.startswith("/"):
        raise Refusal(422, "An operation needs a path that begins with `/`.")
    *way, last = read_pointer(path)
    parent = document
    for step in way:
        parent = _within(parent, str(step), path)
    match act:
        case "test":
            if "value" not in operation or not _same(_within(parent, str(last), path), operation["value"]):
                raise Refusal(TEST_FAILED, f"The test of {path} failed.", CONFLICT)
        case "replace" | "remove" | "add":
            _put(parent, str(last), act, operation.get("value", _ABSENT), path)
        case _:
            raise Refusal(422, f"There is no operation {act!r} here.")


def _within(parent: Any, step: str, path: str) -> Any:
    if isinstance(parent, dict) and step in parent:
        return parent[step]
    if isinstance(parent, list) and step.isdigit() and len(step) < 6 and int(step) < len(parent):
        return parent[int(step)]
    raise Refusal(422, f"There is nothing at {path}.")


def _put(parent: Any, step: str, act: str, value: Any, path: str) -> None:
    if act != "remove" and value is _ABSENT:
        raise Refusal(422, f"The operation at {path} needs a value.")
    if act != "add":
        _within(parent, step, path)
    if isinstance(parent, dict):
        parent.pop(step, None)
        if act != "remove":
            parent[step] = value
        return
    if not isinstance(parent, list):
        raise Refusal(422, f"There is nothing at {path}.")
    place = len(parent) if step == "-" and act == "add" else _place(step, len(parent), path)
    if act != "add":
        parent.pop(place)
    if act != "remove":
        parent.insert(place, value)


def _place(step: str, length: int, path: str) -> int:
    if step.isascii() and step.isdigit() and len(step) < 6 and int(step) <= length:
        return int(step)
    raise Refusal(422, f"There is nothing at {path}.")


def _take(draft: Draft, before: Json, after: Json, environment: str) -> None:
    was, now = before["environments"][environment], _environment(after, environment)
    if was["salt"] != now.get("salt"):
        raise invalid("Flag salt cannot be modified")
    for name in was.keys() | now.keys():
        if not _same(was.get(name), now.get(name)):
            draft.flag[name] = _allowed(_IN_FLAG, name, now.get(name))
    for name in (before.keys() | after.keys()) - {"environments"}:
        if not _same(before.get(name), after.get(name)):
            draft.record[name] = _allowed(_IN_RECORD, name, after.get(name))
    _check(draft)


def _check(draft: Draft) -> None:
    """Raise Refusal 400 for a flag that an SDK could not evaluate."""
    variations = len(draft.flag["variations"])
    checked_fallthrough(draft.flag["fallthrough"], variations)
    if draft.flag.get("offVariation") is not None:
        check_index(draft.flag["offVariation"], variations)
    for target in [*(draft.flag.get("targets") or []), *(draft.flag.get("contextTargets") or [])]:
        match target:
            case {"values": [*values], "variation": index} if all(isinstance(value, str) for value in values):
                check_index(index, variations)
            case _:
                raise invalid("A target has values, which are texts, and a variation.")
    for prerequisite in draft.flag.get("prerequisites") or []:
        match prerequisite:
            case {"key": str(), "variation": int()}:
                pass
            case _:
                raise invalid("A prerequisite has a key and a variation.")
    if not all(isinstance(tag, str) for tag in draft.record["tags"]):
        raise invalid("tags must be texts.")


def _environment(after: Json, environment: str) -> Json:
    environments = after.get("environments")
    found = environments.get(environment) if isinstance(environments, dict) else None
    if not isinstance(found, dict) or set(environments or ()) != {environment}:
        raise invalid("An environment cannot be replaced.")
    return found


def _allowed(known: Mapping[str, type], name: str, value: Any) -> Any:
    if name not in known:
        raise invalid(f"{name} cannot be changed by a JSON patch here.")
    if type(value) is not known[name]:
        raise invalid(f"{name} must be of another kind.")
    return value


def _same(one: Any, other: Any) -> bool:
    """Equal as JSON: `true` is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(one == other)
