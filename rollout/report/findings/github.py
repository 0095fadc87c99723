"""Workflow commands of GitHub Actions: annotations at the lines of a pull request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from rollout.core.runbook import pointer
from rollout.core.validation import Validation
from rollout.errors import RolloutError
from rollout.report.findings.account import Entry, Level, counted, entries, notes, summary
from rollout.report.findings.origin import Origin
from rollout.report.findings.plain import encodable, visible

MAX_OF_A_KIND = 10
"""GitHub shows as many annotations of one kind for a step, and drops the others without a word."""

_COMMANDS = {Level.ERROR: "error", Level.WARNING: "warning", Level.WAIVED: "notice"}


def as_commands(validation: Validation, origin: Origin) -> str:
    """An annotation a finding; of more than GitHub shows the first nine, and how many more there are."""
    found = entries(validation)
    commands = [command for level in Level for command in _of_kind(level, found, origin)]
    return (
        "\n".join([*commands, *(f"note: {note}" for note in notes(validation)), summary(validation)]) + "\n"
    )


def error_as_command(error: RolloutError) -> str:
    """One annotation, of no file: the run could not be done."""
    title = _property(encodable(f"rollout: {error.code}"))
    told = "\n".join(filter(None, (visible(error.message), visible(error.advice), pointer(error.code))))
    return f"::error title={title}::{_data(told)}\n"


def said_as_command(text: str, level: Literal["notice", "error"]) -> str:
    """One annotation, of no file."""
    return f"::{level} title=rollout::{_data(visible(text))}\n"


def _of_kind(level: Level, found: Sequence[Entry], origin: Origin) -> Iterator[str]:
    ours = [entry for entry in found if entry.level is level]
    shown = ours if len(ours) <= MAX_OF_A_KIND else ours[: MAX_OF_A_KIND - 1]
    yield from (_annotation(entry, origin) for entry in shown)
    if len(shown) < len(ours):
        yield (
            f"::{_COMMANDS[level]} title=rollout validate::and {counted(entry.level for entry in ours[len(shown) :])} "
            "more than GitHub would show; the summary of this step, or `rollout validate` in a terminal, has them all"
        )


def _annotation(entry: Entry, origin: Origin) -> str:
    where = {"file": origin.path(entry.file), "line": entry.place.line, "col": entry.place.column}
    if entry.end is not None and entry.end.line == entry.place.line and entry.end > entry.place:
        # Nobody says whether the end column belongs to the annotation; that of the last character surely does.
        where |= {"endLine": entry.end.line, "endColumn": entry.end.column - 1}
    properties = {**where, "title": f"{entry.rule}: {entry.title}"}
    written = ",".join(f"{name}={_property(encodable(str(value)))}" for name, value in properties.items())
    return f"::{_COMMANDS[entry.level]} {written}::{_data(_message(entry))}"


def _message(entry: Entry) -> str:
    return f"{entry.message}\n{entry.after}" if entry.after else entry.message


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
