"""Strict YAML 1.2 to plain data, with the place of every node.

Events are read from ruamel.yaml's parser, and everything that makes YAML surprising is refused: anchors,
aliases, tags, directives, merge keys, duplicate keys, keys that are not text, several documents, numbers that
are not finite, and characters that hide text from a reader. What is left is JSON with comments.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from rollout.core.document import DocumentErrors, Place, Pointer, Problem
from rollout.integrations.documents.text import decode, refusal, scalar, shorten

MAX_DEPTH = 40
MAX_NODES = 8_000
MAX_PROBLEMS = 100

_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Span:
    """The characters [start, end) of a scalar, and how it is quoted: None (plain), ', \", | or >."""

    start: int
    end: int
    style: str | None


@dataclass(slots=True)
class Parsed:
    """Plain data, the place of every value and key, and the span of every scalar value.

    `problems` are the things that are refused but do not hinder reading on, so that all come at once.
    """

    source: str
    text: str
    data: Any = None
    values: dict[Pointer, Place] = field(default_factory=dict)
    keys: dict[Pointer, Place] = field(default_factory=dict)
    spans: dict[Pointer, Span] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def parse(content: bytes, source: str) -> Parsed:
    """Read one document. Raises DocumentErrors with everything in it that is not strict YAML."""
    parsed = survey(content, source)
    if parsed.problems:
        raise DocumentErrors(tuple(parsed.problems))
    return parsed


def survey(content: bytes, source: str) -> Parsed:
    """Read one document and note what is refused in it; raises only where reading cannot go on."""
    return _Reading(source, decode(content, source)).run()


class _Reading:
    """One pass over the events of one document."""

    def __init__(self, source: str, text: str) -> None:
        self._parsed = Parsed(source, text)
        self._lines = [0, *(match.end() for match in re.finditer("\n", text))]
        self._nodes = 0

    def run(self) -> Parsed:
        from ruamel.yaml.error import MarkedYAMLError, YAMLError

        try:
            return self._document()
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)
            problem = " ".join(filter(None, (error.context, error.problem)))
            raise refusal(self._parsed.source, place, f"not YAML: {problem}") from None
        except YAMLError as error:
            first = str(error).splitlines()[0] if str(error) else "unreadable"
            raise refusal(self._parsed.source, Place(1, 1), f"not YAML: {first}") from None

    def _document(self) -> Parsed:
        from ruamel.yaml import YAML

        events = YAML(typ="safe", pure=True).parse(self._parsed.text)
        documents = 0
        for event in events:
            match type(event).__name__:
                case "DocumentStartEvent":
                    documents += 1
                    self._refuse_prologue(event, documents)
                    self._parsed.data = self._node(next(events), events, ())
                case _:
                    continue
        if documents == 0 or self._parsed.data is None:
            raise self._at(0, "the document is empty")
        return self._parsed

    def _refuse_prologue(self, event: Any, documents: int) -> None:
        if documents > 1:
            raise self._at(event.start_mark.index, "a second document starts here; a file holds one")
        if event.version or event.tags:
            raise self._at(event.start_mark.index, "YAML directives are refused")

    def _node(self, event: Any, events: Iterator[Any], pointer: Pointer) -> Any:
        self._admit(event, pointer)
        self._parsed.values[pointer] = self._place(event.start_mark.index)
        match type(event).__name__:
            case "MappingStartEvent":
                return self._mapping(events, pointer)
            case "SequenceStartEvent":
                return self._sequence(events, pointer)
            case _:
                self._parsed.spans[pointer] = Span(event.start_mark.index, event.end_mark.index, event.style)
                return self._scalar(event, pointer)

    def _mapping(self, events: Iterator[Any], pointer: Pointer) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        while type(event := next(events)).__name__ != "MappingEndEvent":
            key = self._key(event, pointer)
            if key in mapping:
                self._note(event, f"the key {shorten(key)!r} is there twice", (*pointer, key))
            here = (*pointer, key)
            self._parsed.keys[here] = self._place(event.start_mark.index)
            mapping[key] = self._node(next(events), events, here)
            if (span := self._parsed.spans.get(here)) and span.start == span.end:
                # The parser places an empty value before the next token, which may be lines below.
                at = self._parsed.text.index(":", event.end_mark.index) + 1
                self._parsed.spans[here] = Span(at, at, None)
        return mapping

    def _key(self, event: Any, pointer: Pointer) -> str:
        self._admit(event, pointer)
        if type(event).__name__ != "ScalarEvent":
            raise self._at(event.start_mark.index, "a key must be text, not a list or a mapping", pointer)
        key = self._scalar(event, pointer)
        if not isinstance(key, str):
            self._note(event, f"the key {shorten(event.value)!r} is not text: quote it", pointer)
            key = str(event.value)
        if key == "<<":
            self._note(event, "merge keys are refused: write the fields out", pointer)
        return key

    def _sequence(self, events: Iterator[Any], pointer: Pointer) -> list[Any]:
        items: list[Any] = []
        while type(event := next(events)).__name__ != "SequenceEndEvent":
            items.append(self._node(event, events, (*pointer, len(items))))
        return items

    def _scalar(self, event: Any, pointer: Pointer) -> str | int | float | bool | None:
        if event.style is None:
            try:
                return scalar(event.value)
            except ValueError as error:
                self._note(event, str(error), pointer)
        value = str(event.value)
        if _SURROGATE.search(value):
            self._note(event, "half a surrogate pair is not a character", pointer)
            return ""
        return value

    def _admit(self, event: Any, pointer: Pointer) -> None:
        at = event.start_mark.index
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise self._at(at, f"the document has more than {MAX_NODES} nodes", pointer)
        if len(pointer) > MAX_DEPTH:
            raise self._at(at, f"the document is nested deeper than {MAX_DEPTH} levels")
        if type(event).__name__ == "AliasEvent":
            raise self._at(at, "anchors and aliases are refused: write the value out", pointer)
        if event.anchor is not None:
            self._note(event, "anchors and aliases are refused: write the value out", pointer)
        if event.ctag is not None:
            self._note(event, f"the tag {shorten(str(event.ctag))} is refused", pointer)

    def _note(self, event: Any, message: str, pointer: Pointer) -> None:
        place = self._place(event.start_mark.index)
        self._parsed.problems.append(
            Problem(source=self._parsed.source, place=place, pointer=pointer, message=message)
        )
        if len(self._parsed.problems) >= MAX_PROBLEMS:
            raise DocumentErrors(tuple(self._parsed.problems))

    def _place(self, index: int) -> Place:
        line = bisect_right(self._lines, index)
        return Place(line, index - self._lines[line - 1] + 1)

    def _at(self, index: int, message: str, pointer: Pointer = ()) -> DocumentErrors:
        return refusal(self._parsed.source, self._place(index), message, pointer)
