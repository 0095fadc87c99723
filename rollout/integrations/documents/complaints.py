"""What pydantic says about a document, in words for the person who wrote it."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from rollout.core.blanks import Blank, blanks
from rollout.core.document import Pointer, Problem
from rollout.integrations.documents.forms import example_of, in_words
from rollout.integrations.documents.parsed import Parsed, Span
from rollout.integrations.documents.text import shorten


def problems(error: ValidationError, model: type[BaseModel], parsed: Parsed) -> tuple[Problem, ...]:
    """Every error as a Problem with its place. One field that fails every branch of a union is named once.

    A blank is what a draft leaves to a human: it is named as that, whatever its field would rather hold, and so
    are the blanks in texts, which are no errors by themselves.
    """
    schema = model.model_json_schema(by_alias=True)
    left = {blank.pointer: blank for blank in blanks(parsed.data)} if isinstance(parsed.data, dict) else {}
    seen: dict[tuple[Pointer, str], Problem] = {}
    for detail in error.errors(include_url=False):
        problem = _problem(detail, model, schema, parsed)
        if problem.pointer not in left:
            seen.setdefault((problem.pointer, problem.message), problem)
    return (*seen.values(), *(_left(blank, parsed) for blank in left.values()))


def _left(blank: Blank, parsed: Parsed) -> Problem:
    wanted = f": {blank.wanted}" if blank.wanted else ""
    return parsed.problem(parsed.spans.get(blank.pointer), blank.pointer, f"left to a human{wanted}")


def _problem(detail: ErrorDetails, model: type[BaseModel], schema: dict[str, Any], parsed: Parsed) -> Problem:
    missing = detail["type"] == "missing"
    pointer = _pointer(detail["loc"], parsed.data, missing=missing)
    on_key = detail["type"] == "extra_forbidden" or (detail["loc"] and detail["loc"][-1] == "[key]")
    return parsed.problem(
        _span(pointer, parsed, on_key=bool(on_key), missing=missing),
        pointer,
        _message(detail, pointer, schema, parsed) + (_example(model, schema, pointer) if missing else ""),
        None if missing else _found(pointer, parsed),
    )


def _pointer(loc: tuple[int | str, ...], data: Any, *, missing: bool) -> Pointer:
    """The part of pydantic's location that exists in the data: it also names union branches and `[key]`."""
    pointer: list[int | str] = []
    for place, part in enumerate(loc):
        if part in (data if isinstance(data, dict) else range(len(data)) if isinstance(data, list) else ()):
            data = data[part]
        elif not (missing and place == len(loc) - 1):
            continue
        pointer.append(part)
    return tuple(pointer)


def _span(pointer: Pointer, parsed: Parsed, *, on_key: bool, missing: bool) -> Span | None:
    if missing:
        # A missing field is written nowhere: its parent's key is where it belongs.
        parent = pointer[:-1]
        return parsed.keys.get(parent) or parsed.spans.get(parent)
    if on_key and pointer in parsed.keys:
        return parsed.keys[pointer]
    return parsed.spans.get(pointer)


def _message(detail: ErrorDetails, pointer: Pointer, schema: dict[str, Any], parsed: Parsed) -> str:
    match detail["type"]:
        case "missing":
            return f"the field {_last(pointer)} is missing" + _described(schema, pointer)
        case "extra_forbidden":
            return f"there is no field {_last(pointer)} here" + _did_you_mean(schema, pointer)
        case "string_type" if isinstance(detail["input"], int | float):
            raw = parsed.written(pointer)
            kind = _kind(detail["input"])
            return f"this must be text, and without quotes it is read as a {kind}: write '{raw}'"
        case "string_pattern_mismatch":
            described = "" if detail["loc"][-1] == "[key]" else _described(schema, pointer)
            return f"this does not have the right form: {in_words(detail['ctx']['pattern'])}{described}"
        case "value_error" | "assertion_error":
            return detail["msg"].split(", ", 1)[-1]
        case _:
            return detail["msg"].replace("Input should", "this should", 1)


def _last(pointer: Pointer) -> str:
    return repr(str(pointer[-1])) if pointer else "of the document"


def _kind(value: object) -> str:
    return "truth value" if isinstance(value, bool) else "number"


def _found(pointer: Pointer, parsed: Parsed) -> str | None:
    if (span := parsed.spans.get(pointer)) and span.is_single:
        return shorten(parsed.written(pointer).split("\n")[0]) or "nothing"
    value = parsed.data
    for part in pointer:
        value = value[part]
    return shorten(json.dumps(value, ensure_ascii=False)) if pointer or not isinstance(value, dict) else None


def _did_you_mean(schema: dict[str, Any], pointer: Pointer) -> str:
    known = sorted(
        {name for branch in _branches(schema, pointer[:-1]) for name in branch.get("properties", {})}
    )
    if not known:
        return ""
    close = difflib.get_close_matches(str(pointer[-1]), known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else f"; there are: {', '.join(known)}"


def _example(model: type[BaseModel], schema: dict[str, Any], pointer: Pointer) -> str:
    example = example_of(model, partial(_branches, schema), pointer) if pointer else ""
    return f", e.g. {example}" if example else ""


def _described(schema: dict[str, Any], pointer: Pointer) -> str:
    for branch in _branches(schema, pointer):
        if text := branch.get("description"):
            return f" ({text.split(chr(10))[0].rstrip('.')})"
    return ""


def _branches(schema: dict[str, Any], pointer: Pointer) -> Iterator[Mapping[str, Any]]:
    """Every schema that speaks of the value at the pointer."""
    level = list(_alternatives(schema, schema))
    for part in pointer:
        level = [
            deeper
            for branch in level
            for child in _children(branch, part)
            for deeper in _alternatives(schema, child)
        ]
    yield from level


def _alternatives(root: dict[str, Any], schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield schema
    if reference := schema.get("$ref"):
        yield from _alternatives(root, root["$defs"][reference.rsplit("/", 1)[-1]])
    for branch in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())):
        yield from _alternatives(root, branch)


def _children(schema: Mapping[str, Any], part: str | int) -> Iterator[Mapping[str, Any]]:
    if isinstance(part, int):
        yield from (child for child in (schema.get("items"),) if isinstance(child, dict))
        return
    properties = schema.get("properties", {})
    if part in properties:
        yield properties[part]
    elif isinstance(other := schema.get("additionalProperties"), dict):
        yield other
    yield from schema.get("patternProperties", {}).values()
