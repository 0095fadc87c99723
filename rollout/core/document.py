"""A document with the places of its fields, and every reason why it could not be read.

A place is what lets a finding point at a line: it is kept for every field of every document, not only for the
ones that turned out wrong.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from pydantic import BaseModel

from rollout.errors import Unreadable

D = TypeVar("D", bound=BaseModel)

MAX_LINE = 2000
"""The longest line, in characters, that a problem quotes: a hostile one could otherwise be quoted at every field."""

Pointer = tuple[str | int, ...]
"""The way to a field: keys and indices, e.g. `("artifact", "files", "adapter_config.json")`."""


def show_pointer(pointer: Pointer) -> str:
    """The pointer as a JSON pointer (RFC 6901); the whole document is the empty string."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in pointer)


def read_pointer(text: str) -> Pointer:
    """The keys of a JSON pointer. Digits stay text: `Located.place` finds list items by either."""
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:])


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where something is written: line and column, both counted from 1, columns in characters."""

    line: int
    column: int


def locate(text: str, index: int) -> Place:
    """The place of one character of a text."""
    return Place(text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index))


def line_around(text: str, index: int) -> str:
    """The line that holds one character of a text, without its end; empty if it is too long to show."""
    start, end = text.rfind("\n", 0, index) + 1, text.find("\n", index)
    end = end if end >= 0 else len(text)
    return text[start:end].rstrip("\r") if end - start <= MAX_LINE else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong with a document: where, what, and what was found there (shortened).

    `source_line` is the line at `place` without its end, and `end` the place behind what is wrong, where they
    are known.
    """

    source: str
    place: Place
    pointer: Pointer
    message: str
    found: str | None = None
    end: Place | None = None
    source_line: str = ""

    def __str__(self) -> str:
        at = f"{self.source}:{self.place.line}:{self.place.column}"
        where = f" {show_pointer(self.pointer)}:" if self.pointer else ""
        found = "" if self.found is None else f"; found {self.found}"
        return f"{at}:{where} {self.message}{found}"

    def masked(self) -> Problem:
        """The same without what people leave in addresses by mistake."""
        return replace(
            self,
            message=masked(self.message),
            found=None if self.found is None else masked(self.found),
            source_line=masked(self.source_line),
        )


_IN_ADDRESS = re.compile(r"""(?<=://)[^/\s@"'<>]+(?=@)|(?<=[?&])([A-Za-z0-9_.-]{1,64}=)[^&\s"'#]+""")


def masked(text: str) -> str:
    """The text with what people leave in addresses by mistake, passwords and tokens, as so many asterisks."""
    return _IN_ADDRESS.sub(lambda found: (found[1] or "").ljust(len(found[0]), "*"), text)


class DocumentErrors(Unreadable):
    """A document could not be read; `problems` are all reasons at once, in the order of the file."""

    code = "document-invalid"

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: (problem.source, problem.place)))
        super().__init__("\n".join(str(problem) for problem in self.problems))


@dataclass(frozen=True, slots=True, kw_only=True)
class Located(Generic[D]):
    """A document that was read: its value, its plain JSON data as written, its bytes and where each field is.

    `spans` are the characters [start, end) of every field in the text of `content`: of a single value itself,
    and of the key that a mapping or a list stands under.
    """

    value: D
    data: Mapping[str, object]
    source: str
    content: bytes
    spans: Mapping[Pointer, tuple[int, int]] = field(repr=False)

    def place(self, pointer: Pointer) -> Place:
        """Where a field is written; for one that is not there, the closest parent that is."""
        start, _ = self._span(pointer)
        return locate(self._text, start)

    def end(self, pointer: Pointer) -> Place:
        """The place behind what `place` points to."""
        _, end = self._span(pointer)
        return locate(self._text, end)

    def position(self, pointer: Pointer) -> tuple[int, int]:
        """`place` as (line, column), both from 1."""
        place = self.place(pointer)
        return place.line, place.column

    def line(self, number: int) -> str:
        """One line of the source, counted from 1, without its end."""
        lines = self._text.split("\n")
        return lines[number - 1].rstrip("\r") if 0 < number <= len(lines) else ""

    def problem(self, pointer: Pointer, message: str, *, found: str | None = None) -> Problem:
        """Something that is wrong with a field although it could be read."""
        place = self.place(pointer)
        return Problem(
            source=self.source,
            place=place,
            end=self.end(pointer),
            pointer=pointer,
            message=message,
            found=found,
            source_line=self.line(place.line)[:MAX_LINE],
        )

    def _span(self, pointer: Pointer) -> tuple[int, int]:
        return self.spans.get(_known(self.spans, pointer), (0, 0))

    @property
    def _text(self) -> str:
        return self.content.decode("utf-8", errors="replace")


def _known(spans: Mapping[Pointer, object], pointer: Pointer) -> Pointer:
    known: Pointer = ()
    for part in pointer:
        longer = (*known, part)
        if longer not in spans and isinstance(part, str) and part.isdigit():
            longer = (*known, int(part))
        if longer not in spans:
            break
        known = longer
    return known
