"""Text from documents, made harmless for whoever reads or interprets a report.

A value may hold escape sequences of a terminal, characters that reorder what a reader sees, or what a runner of
workflows takes for a command: a line that begins with two colons, or `##[` anywhere in a line.
"""

from __future__ import annotations

import re
import unicodedata

_BLANK = re.compile(r"\s+")
_COMMAND = re.compile(r"\A(\s*)::")
_OLD_COMMAND = re.compile(r"(?<=##)\[")


def visible(text: str) -> str:
    """The text on one line, with every character that cannot be seen written as its escape."""
    flat = _BLANK.sub(" ", text).strip()
    return _OLD_COMMAND.sub(r"\\x5b", flat if flat.isprintable() else "".join(map(seen, flat)))


def seen(character: str) -> str:
    """A character as it is shown: itself, or its escape if it is not printable."""
    return character if character.isprintable() else character.encode("unicode_escape").decode("ascii")


def harmless(line: str) -> str:
    """A line of a document as it is, blanks and all, but for what could be taken for something else."""
    shown = "".join(character if character == "\t" else seen(character) for character in line)
    return _COMMAND.sub(r"\1\\x3a:", _OLD_COMMAND.sub(r"\\x5b", shown))


def encodable(text: str) -> str:
    """A name that is no UTF-8 reaches us with halves of surrogate pairs in it, which no output can hold."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def shortened(text: str, limit: int) -> str:
    """The beginning of a text of `visible` form, with an ellipsis if something is left out."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def width(text: str) -> int:
    """How many columns of a terminal a printable text takes."""
    return sum(map(_columns, text))


def _columns(character: str) -> int:
    if unicodedata.category(character) in {"Mn", "Me"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1
