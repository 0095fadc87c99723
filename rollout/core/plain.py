"""Words of others as they may stand in a record: one line, printable, of bounded length."""

from __future__ import annotations


def plain(text: str, most: int, *, nothing: str) -> str:
    """`text` on one line, without what does not print, at most `most` characters; `nothing` if none is left."""
    shown = "".join(letter if letter.isprintable() else " " for letter in text)
    line = " ".join(shown.split())
    if len(line) > most:
        line = line[: most - 1] + "…"
    return line or nothing
