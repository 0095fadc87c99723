"""Blanks: the fields of a drafted document that only a human can fill in.

A blank is a text that begins with `TODO`, wherever it stands, a date or a digest included: what follows the colon
says what is wanted. It is never a value, so that a draft cannot be mistaken for a finished document.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rollout.core.document import Pointer

_BLANK = re.compile(r"\s*TODO\b\s*:?\s*(.*)\Z", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Blank:
    """One field that is left to a human, and what is wanted there; empty if nobody said."""

    pointer: Pointer
    wanted: str


def blank(wanted: str) -> str:
    """The text that stands for a value which only a human knows."""
    return f"TODO: {wanted}"


def blanks(data: Mapping[str, object]) -> tuple[Blank, ...]:
    """The blanks of a document's plain data, in its order. Keys are never blanks."""
    return tuple(_below(data, ()))


def _below(node: object, pointer: Pointer) -> Iterator[Blank]:
    if isinstance(node, str):
        if found := _BLANK.match(node):
            yield Blank(pointer=pointer, wanted=found[1].strip())
    elif isinstance(node, Mapping):
        for key, value in node.items():
            yield from _below(value, (*pointer, key))
    elif isinstance(node, list | tuple):
        for index, value in enumerate(node):
            yield from _below(value, (*pointer, index))
