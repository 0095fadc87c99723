"""The line of a document that a finding points to, with what is meant underlined."""

from __future__ import annotations

from dataclasses import dataclass

from rollout.report.findings.account import Entry
from rollout.report.findings.plain import seen, width

MAX_CHARACTERS = 120
_BEFORE = 40
_TAB = 4


@dataclass(frozen=True, slots=True)
class Excerpt:
    """One line with its number, and the line below that underlines a part of it in a terminal."""

    number: str
    line: str
    underline: str


def excerpt(entry: Entry) -> Excerpt | None:
    """What an entry points to; None if its line is empty or not known. A long line is cut around the place."""
    line = entry.source_line
    if not line.strip():
        return None
    start = min(entry.place.column - 1, len(line))
    left = max(0, min(start - _BEFORE, len(line) - MAX_CHARACTERS))
    right = min(len(line), left + MAX_CHARACTERS)
    cells = _cells(line[left:right], "…" if left else "")
    end = max(start, min(_end(entry, len(line)), right))
    before, marked = "".join(cells[: start - left + 1]), "".join(cells[start - left + 1 : end - left + 1])
    shown = "".join(cells).rstrip() + ("…" if right < len(line) else "")
    return Excerpt(str(entry.place.line), shown, " " * width(before) + "^" * max(1, width(marked)))


def _end(entry: Entry, length: int) -> int:
    """Where the marked part ends, in characters of the line: with it, if it goes on below."""
    if entry.end is None or entry.end < entry.place:
        return entry.place.column
    return entry.end.column - 1 if entry.end.line == entry.place.line else length


def _cells(text: str, lead: str) -> list[str]:
    """`lead`, then what each character is shown as: one tab may be several blanks, one control its escape."""
    cells, column = [lead], width(lead)
    for at, character in enumerate(text):
        if character == "\t":
            cell = " " * (_TAB - column % _TAB)
        elif character == "[" and text[max(0, at - 2) : at] == "##":
            cell = r"\x5b"
        else:
            cell = seen(character)
        cells.append(cell)
        column += width(cell)
    return cells
