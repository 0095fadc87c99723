"""The form of a document that no meaning depends on: line ends, blanks at the end of lines, the last line end."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterator

from rollout.core.document import DocumentErrors
from rollout.integrations.documents.parsed import Parsed
from rollout.integrations.documents.yaml import parse

_TRAILING = re.compile(r"[ \t]+(?=\n|\Z)")


def tidy(content: bytes, source: str) -> bytes:
    """The document with LF as its line end, one at the end of the file, and no blanks at the end of a line.

    What stands within text of several lines stays. A step that would change what the document means is left out.
    Raises DocumentErrors if it cannot be read.
    """
    parsed = parse(content, source)
    for step in (_line_ends, _trailing_blanks, _last_line_end):
        parsed = _if_the_same(parsed, step(parsed))
    return parsed.text.encode("utf-8")


def _if_the_same(before: Parsed, text: str) -> Parsed:
    if text == before.text:
        return before
    try:
        after = parse(text.encode("utf-8"), before.source)
    except DocumentErrors:
        return before
    return after if json.dumps(after.data) == json.dumps(before.data) else before


def _line_ends(parsed: Parsed) -> str:
    return parsed.text.replace("\r\n", "\n")


def _trailing_blanks(parsed: Parsed) -> str:
    texts = list(_texts(parsed))

    def stripped(match: re.Match[str]) -> str:
        before = bisect_right(texts, match.start(), key=_start) - 1
        return match[0] if before >= 0 and match.start() < texts[before][1] else ""

    return _TRAILING.sub(stripped, parsed.text)


def _start(span: tuple[int, int]) -> int:
    return span[0]


def _texts(parsed: Parsed) -> Iterator[tuple[int, int]]:
    """Where values of several lines stand, in the order of the file, each with the blank lines below it."""
    for span in parsed.spans.values():
        if span.is_single and (span.style in {"|", ">"} or "\n" in parsed.text[span.start : span.end]):
            yield span.start, len(parsed.text) - len(parsed.text[span.end :].lstrip())


def _last_line_end(parsed: Parsed) -> str:
    return parsed.text.rstrip() + "\n"
