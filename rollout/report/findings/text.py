"""For a terminal: each finding at its place, with the line underlined and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

import click

from rollout.core.runbook import pointer
from rollout.core.validation import Validation
from rollout.errors import RolloutError
from rollout.report.findings.account import Entry, Level, entries, notes, outcome, shown_file, summary, worst
from rollout.report.findings.excerpt import excerpt
from rollout.report.findings.plain import visible

MAX_ENTRIES = 50
_COLOURS = {Level.ERROR: "red", Level.WARNING: "yellow", Level.WAIVED: "bright_black"}


def as_text(validation: Validation, *, colour: bool = False) -> str:
    """Blocks, notes and a summary; of a great many findings the worst, and how many more there are."""
    shown, more = worst(entries(validation), MAX_ENTRIES)
    blocks = [[*_block(list(group)), ""] for _, group in groupby(shown, key=_shared)]
    lines = [line for block in blocks for line in block]
    if more:
        lines += [f"and {more} more; --format json shows them all", ""]
    lines += [f"note: {note}" for note in notes(validation)]
    good = outcome(validation) == "pass"
    lines.append(click.style(summary(validation), fg="green" if good else "red", bold=not good))
    text = "\n".join(lines) + "\n"
    return text if colour else click.unstyle(text)


def error_as_text(error: RolloutError) -> str:
    """What standard error says as well."""
    lines = [
        f"error[{error.code}]: {visible(error.message)}",
        f"  {visible(error.advice)}",
        pointer(error.code),
    ]
    return "\n".join(line for line in lines if line.strip()) + "\n"


def _shared(entry: Entry) -> tuple[object, ...]:
    """Entries that point to the same characters and ask for the same share one excerpt."""
    return entry.file, entry.place, entry.end, entry.after, entry.level is Level.WAIVED


def _block(group: list[Entry]) -> Iterator[str]:
    yield from map(_head, group)
    yield from _excerpt(group[0])
    if group[0].after:
        yield f"  = {group[0].after}" if group[0].level is Level.WAIVED else f"  = help: {group[0].after}"


def _head(entry: Entry) -> str:
    at = f"{shown_file(entry.file)}:{entry.place.line}:{entry.place.column}"
    label = click.style(f"{entry.level}[{entry.rule}]", fg=_COLOURS[entry.level], bold=True)
    return f"{click.style(at, bold=True)}: {label}: {entry.message}"


def _excerpt(entry: Entry) -> Iterator[str]:
    found = excerpt(entry)
    if found is None:
        return
    bar = click.style("|", fg="blue")
    yield f"  {click.style(found.number, fg='blue')} {bar} {found.line}"
    yield f"  {' ' * len(found.number)} {bar} {click.style(found.underline, fg=_COLOURS[entry.level])}"
