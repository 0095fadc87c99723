"""What `rollout validate --fix` puts right, as a unified diff."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence

import click

from rollout.report.findings.plain import harmless, visible
from rollout.usecases.fix import Fixed

# Behind a last line that has no line end; no document can hold it.
_OPEN = "\0"
_COLOURS = {"+": "green", "-": "red", "@": "cyan"}


def as_text(fixed: Sequence[Fixed], *, dry_run: bool, colour: bool = False) -> str:
    """A diff a file that changes, what could not be put right, and a summary; empty if there is nothing to say."""
    lines = [line for each in fixed if each.changed for line in _diff(each)]
    lines += [
        f"note: {visible(f'{each.path} is left as it is: {each.obstacle}')}"
        for each in fixed
        if each.obstacle
    ]
    changed = sum(each.changed for each in fixed)
    if changed or dry_run:
        files = f"{changed or 'no'} manifest{'' if changed < 2 else 's'}"
        lines.append(f"{files} would be changed" if dry_run else f"{files} fixed")
    text = "".join(line + "\n" for line in lines)
    return text if colour else click.unstyle(text)


def _diff(fixed: Fixed) -> Iterator[str]:
    before, after = _lines(fixed.before), _lines(fixed.after)
    name = visible(str(fixed.path))
    lines = difflib.unified_diff(before, after, f"a/{name}", f"b/{name}", lineterm="")
    for number, line in enumerate(lines):
        mark, text = line[:1], line[1:].removesuffix(_OPEN)
        shown = mark + (text if number < 2 else harmless(text))
        yield click.style(shown, fg=_COLOURS[mark]) if mark in _COLOURS else shown
        if line.endswith(_OPEN):
            yield "\\ No newline at end of file"


def _lines(content: bytes) -> list[str]:
    """The lines of a file; one without a line end differs from one with."""
    *lines, last = content.decode("utf-8", "replace").split("\n")
    return [*lines, last + _OPEN] if last else lines
