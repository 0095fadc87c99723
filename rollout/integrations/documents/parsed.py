"""What reading a document yields before any model looks at it: plain data, and where each part of it stands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rollout.core.document import Pointer, Problem, line_around, locate

MAX_DEPTH = 40
MAX_NODES = 8_000
"""What a document may hold at most: levels below each other, keys and values together."""


class Span(NamedTuple):
    """The characters [start, end) of a node, and how it is written.

    The style of a single value is None (plain), `'`, `"`, `|` or `>`; of a mapping or a list it is `{` or `[` if
    it stands in brackets, and `:` or `-` if it stands on lines of its own.
    """

    start: int
    end: int
    style: str | None

    @property
    def is_single(self) -> bool:
        """Whether it is a single value, and no mapping or list."""
        return self.style is None or self.style in "'\"|>"


@dataclass(slots=True)
class Parsed:
    """Plain data, and the span of every value and key in `text`.

    `problems` are the things that are refused but do not hinder reading on, so that all come at once.
    """

    source: str
    text: str
    data: Any = None
    spans: dict[Pointer, Span] = field(default_factory=dict)
    keys: dict[Pointer, Span] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def shown(self) -> Iterator[tuple[Pointer, Span]]:
        """What to point at for every field: a single value itself, the key of a mapping or a list."""
        for pointer, span in self.spans.items():
            yield pointer, span if span.is_single else self.keys.get(pointer, span)

    def written(self, pointer: Pointer) -> str:
        """The text of a node as it is written; empty if there is none."""
        span = self.spans.get(pointer)
        return self.text[span.start : span.end] if span else ""

    def problem(self, span: Span | None, pointer: Pointer, message: str, found: str | None = None) -> Problem:
        """Something wrong with the characters of a span, or with the document as a whole."""
        start, end, _ = span or Span(0, 0, None)
        return Problem(
            source=self.source,
            place=locate(self.text, start),
            end=locate(self.text, end),
            pointer=pointer,
            message=message,
            found=found,
            source_line=line_around(self.text, start),
        )
