"""Text of models and files, made harmless for whoever reads it."""

from __future__ import annotations

import unicodedata

_HIDDEN = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")


def visible(text: str) -> str:
    """The text with what cannot be seen written out: control characters, escapes, marks that turn writing round."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_seen(letter) for letter in text)


def plain(text: str, width: int = 100) -> str:
    """The text as one visible line of at most so many letters."""
    safe = visible(text.replace("\n", "\\n").replace("\r", "\\r").replace("\t", " "))
    return safe if len(safe) <= width else safe[: width - 1] + "…"


def _seen(letter: str) -> str:
    if letter == "\n" or unicodedata.category(letter) not in _HIDDEN:
        return letter
    return f"\\u{ord(letter):04x}"
