"""Hostile YAML, JSON and JSONL to plain data of bounded size."""

from __future__ import annotations

import json
from collections.abc import Iterator

from rollout.errors import Unreadable

MAX_NODES = 2_000_000
MAX_DEPTH = 60

Row = tuple[str, object]
"""Where a record stands, and the record."""


def read_json(content: bytes, source: str) -> object:
    """The data of a JSON document. Raises Unreadable."""
    try:
        data: object = json.loads(content)
    except (ValueError, RecursionError):
        raise Unreadable(f"{source} is not JSON") from None
    return data


def read_yaml(content: bytes, source: str) -> object:
    """The data of a YAML document. Raises Unreadable.

    Aliases are expanded when they are read, so a file of one kilobyte can hold more than the universe: what is
    larger or deeper than sensible is refused.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        data: object = YAML(typ="safe", pure=True).load(content.decode("utf-8-sig"))
        left = MAX_NODES - sum(1 for _ in _nodes(data, 0))
    except (YAMLError, UnicodeDecodeError, RecursionError, ValueError, OverflowError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise Unreadable(f"{source} cannot be read: {reason[:200]}") from None
    if left < 0:
        raise Unreadable(f"{source} holds more than {MAX_NODES} values")
    return data


def rows(content: bytes, source: str) -> Iterator[Row]:
    """The records of a JSONL file with their lines; blank ones are skipped. Raises Unreadable."""
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            yield f"line {number}", json.loads(line)
        except (ValueError, RecursionError):
            raise Unreadable(f"{source}:{number} is not JSON") from None


def _nodes(data: object, depth: int) -> Iterator[None]:
    """One for each value, up to the limit."""
    stack = [(data, depth)]
    left = MAX_NODES + 1
    while stack and left:
        value, depth = stack.pop()
        left -= 1
        yield None
        if depth > MAX_DEPTH:
            raise ValueError(f"it is nested more than {MAX_DEPTH} deep")
        if isinstance(value, dict):
            stack.extend((each, depth + 1) for pair in value.items() for each in pair)
        elif isinstance(value, list | tuple | set):
            stack.extend((each, depth + 1) for each in value)
