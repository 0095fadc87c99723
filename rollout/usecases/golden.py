"""Read a golden suite with everything that it names."""

from __future__ import annotations

import hashlib
import json
from pathlib import PurePosixPath

from pydantic import JsonValue

from rollout.core.document import DocumentErrors, Place, Problem
from rollout.core.gatefile import Gates
from rollout.core.jsontext import lacks_field
from rollout.core.scorers.compliance import validator
from rollout.core.suite import Expect, Golden, Item, Suite, check_fit, digest_of, read_items
from rollout.errors import Unreadable
from rollout.ports import Documents, Tree

SUITES = PurePosixPath("policies/suites")
GATES = PurePosixPath("policies/gates")


def load_golden(tree: Tree, documents: Documents, name: str) -> Golden:
    """A suite by name, with its items, response schema and gate file.

    Raises DocumentErrors or Unreadable for anything that is missing, malformed or does not belong together.
    """
    path = SUITES / f"{name}.yaml"
    found = documents.read(tree.read(path), Suite, source=str(path))
    suite = found.value
    if suite.name != name:
        raise Unreadable(f"{path}: the suite calls itself {suite.name!r}")
    items_content = tree.read(SUITES / suite.items)
    items = _items(suite, items_content, str(SUITES / suite.items))
    gates_path = GATES / f"{suite.gates}.yaml"
    gates = documents.read(tree.read(gates_path), Gates, source=str(gates_path))
    check_fit(suite, items, gates.value, str(path))
    schema_content = b"" if suite.response_schema is None else tree.read(SUITES / suite.response_schema)
    return Golden(
        suite=suite,
        items=items,
        response_schema=_response_schema(suite, schema_content),
        gates=gates.value,
        suite_digest=digest_of(found.content, items_content, schema_content),
        gates_digest=digest_of(gates.content),
    )


def _items(suite: Suite, content: bytes, source: str) -> tuple[Item, ...]:
    found = hashlib.sha256(content).hexdigest()
    if suite.items_sha256 not in (None, found):
        raise Unreadable(f"{source} has sha256 {found[:12]}…, the suite says {str(suite.items_sha256)[:12]}…")
    items = read_items(content, source)
    lines = _lines(content)
    bad = [
        Problem(source=source, place=Place(lines[place], 1), pointer=("reference",), message=why)
        for place, item in enumerate(items)
        if item.expect is Expect.JSON and (why := lacks_field(item.reference, suite.fields))
    ]
    if bad:
        raise DocumentErrors(tuple(bad))
    return items


def _lines(content: bytes) -> list[int]:
    """The line of each item, counted from 1."""
    return [number for number, line in enumerate(content.split(b"\n"), start=1) if line.strip()]


def _response_schema(suite: Suite, content: bytes) -> dict[str, JsonValue] | None:
    if suite.response_schema is None:
        return None
    source = str(SUITES / suite.response_schema)
    try:
        schema = json.loads(content)
    except (ValueError, RecursionError):
        raise Unreadable(f"{source} is not JSON") from None
    if not isinstance(schema, dict):
        raise Unreadable(f"{source} is not a JSON Schema: it must be an object")
    try:
        validator(schema)
    except Unreadable as error:
        raise Unreadable(f"{source}: {error.message}") from None
    return schema
