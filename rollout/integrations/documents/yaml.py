"""Strict YAML 1.2 to plain data, with the place of every node.

Events are read from ruamel.yaml's parser, and everything that makes YAML surprising is refused: anchors,
aliases, tags, directives, merge keys, duplicate keys, keys that are not text, several documents, numbers that
are not finite, and characters that hide text from a reader. What is left is JSON with comments.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from rollout.core.document import DocumentErrors, Pointer
from rollout.integrations.documents.ordinary import read_ordinary
from rollout.integrations.documents.parsed import MAX_DEPTH, MAX_NODES, Parsed, Span
from rollout.integrations.documents.text import decode, scalar, shorten

MAX_PROBLEMS = 100

_SURROGATE = re.compile("[\ud800-\udfff]")
_KEPT = re.compile(r"[|>][-0-9]*\+")
_COLON = re.compile(r"\s*:")


def parse(content: bytes, source: str) -> Parsed:
    """Read one document. Raises DocumentErrors with everything in it that is not strict YAML."""
    parsed = survey(content, source)
    if parsed.problems:
        raise DocumentErrors(tuple(parsed.problems))
    return parsed


def survey(content: bytes, source: str) -> Parsed:
    """Read one document and note what is refused in it; raises only where reading cannot go on."""
    text = decode(content, source)
    return read_ordinary(source, text) or read_fully(source, text)


def read_fully(source: str, text: str) -> Parsed:
    """What `survey` does, whatever the form of the document."""
    return _Reading(source, text).run()


class _Reading:
    """One pass over the events of one document."""

    def __init__(self, source: str, text: str) -> None:
        self._parsed = Parsed(source, text)
        self._nodes = 0
        self._end = 0

    def run(self) -> Parsed:
        from ruamel.yaml.error import MarkedYAMLError, YAMLError

        try:
            return self._document()
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            problem = " ".join(filter(None, (error.context, error.problem)))
            raise self._at(mark.index if mark else 0, f"not YAML: {problem}") from None
        except YAMLError as error:
            first = str(error).splitlines()[0] if str(error) else "unreadable"
            raise self._at(0, f"not YAML: {first}") from None

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
        # Its place in the order is that of its beginning; where it ends is known once it was read.
        self._parsed.spans[pointer] = _span(event)
        match type(event).__name__:
            case "MappingStartEvent":
                value: Any = self._mapping(event, events, pointer)
            case "SequenceStartEvent":
                value = self._sequence(event, events, pointer)
            case _:
                self._end = self._end_of(event)
                self._parsed.spans[pointer] = Span(event.start_mark.index, self._end, event.style)
                return self._scalar(event, pointer)
        style = (
            ("{" if event.flow_style else ":")
            if isinstance(value, dict)
            else "["
            if event.flow_style
            else "-"
        )
        self._parsed.spans[pointer] = Span(event.start_mark.index, self._end, style)
        return value

    def _end_of(self, event: Any) -> int:
        """The blank lines below a block of text are part of it only if it says so."""
        start, end = event.start_mark.index, int(event.end_mark.index)
        if event.style not in {"|", ">"} or _KEPT.match(self._parsed.text, start):
            return end
        return len(self._parsed.text[:end].rstrip())

    def _mapping(self, begin: Any, events: Iterator[Any], pointer: Pointer) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        while type(event := next(events)).__name__ != "MappingEndEvent":
            key = self._key(event, pointer)
            here = (*pointer, key)
            if key in mapping:
                self._note(event, f"the key {shorten(key)!r} is there twice", here)
            self._parsed.keys[here] = _span(event)
            mapping[key] = self._node(next(events), events, here)
            self._place_if_empty(here)
        self._close(begin, event)
        return mapping

    def _place_if_empty(self, pointer: Pointer) -> None:
        """The parser places an empty value before the next token, which may be lines below."""
        span = self._parsed.spans[pointer]
        if span.start < span.end or span.style is not None:
            return
        colon = _COLON.match(self._parsed.text, self._parsed.keys[pointer].end)
        if colon is None:
            message = f"the key {shorten(str(pointer[-1]))!r} has no colon"
            self._add(self._parsed.keys[pointer], message, pointer)
        else:
            self._end = colon.end()
            self._parsed.spans[pointer] = Span(self._end, self._end, None)

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

    def _sequence(self, begin: Any, events: Iterator[Any], pointer: Pointer) -> list[Any]:
        items: list[Any] = []
        while type(event := next(events)).__name__ != "SequenceEndEvent":
            items.append(self._node(event, events, (*pointer, len(items))))
        self._close(begin, event)
        return items

    def _close(self, begin: Any, end: Any) -> None:
        """Only brackets say themselves where they end; a block ends with the last thing in it."""
        if begin.flow_style:
            self._end = end.end_mark.index

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
        self._add(_span(event), message, pointer)

    def _add(self, span: Span, message: str, pointer: Pointer) -> None:
        self._parsed.problems.append(self._parsed.problem(span, pointer, message))
        if len(self._parsed.problems) >= MAX_PROBLEMS:
            raise DocumentErrors(tuple(self._parsed.problems))

    def _at(self, index: int, message: str, pointer: Pointer = ()) -> DocumentErrors:
        return DocumentErrors((self._parsed.problem(Span(index, index, None), pointer, message),))


def _span(event: Any) -> Span:
    return Span(event.start_mark.index, event.end_mark.index, getattr(event, "style", None))
