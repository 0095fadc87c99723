"""For a step summary or a comment: the verdict first, then what blocks, and the rest folded away.

Text from documents stands in code spans, so that it can neither link, mention nor leave its table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rollout.core.validation import Validation
from rollout.errors import RolloutError
from rollout.report.findings.account import MAX_TOLD, Entry, Level, entries, notes, outcome, summary
from rollout.report.findings.origin import Origin
from rollout.report.findings.plain import shortened, visible

MAX_BYTES = 65_000
"""A comment on GitHub holds 65,536 characters; in bytes it fits however they are counted."""

_MAX_CELL = 400
_MAX_NAMED = 10
_VERDICTS = {
    "pass": "✅ nothing blocks this change",
    "blocked": "❌ this change is blocked",
    "unreadable": "❌ not everything could be read",
}
_HEADER = ["| Where | What | What to do |", "|---|---|---|"]


def as_markdown(validation: Validation, origin: Origin) -> str:
    """At most MAX_BYTES; what does not fit is counted, and never something that blocks for a lesser one."""
    found = entries(validation)
    head = [f"### {_VERDICTS[outcome(validation)]}", "", summary(validation)]
    tail = ["", *_checked(validation)]
    room = MAX_BYTES - _size([*head, *tail])
    body: list[str] = []
    for level in Level:
        part = _part(level, [entry for entry in found if entry.level is level], origin, room - _size(body))
        body += part
    return "\n".join([*head, *body, *tail]) + "\n"


def error_as_markdown(error: RolloutError) -> str:
    """Why the run could not be done, and what to do."""
    told = [_code(error.message, MAX_TOLD), _code(error.advice, MAX_TOLD)]
    todo = f"What to do: {_code(f'rollout runbook {error.code}')}"
    return "\n\n".join(["### ❌ nothing could be checked", *filter(None, told), todo]) + "\n"


def _part(level: Level, found: Sequence[Entry], origin: Origin, room: int) -> list[str]:
    """The findings of one level, as many as there is room for; only what blocks is unfolded."""
    if not found:
        return []
    title = f"{len(found)} {level}{'s' if len(found) > 1 and level is Level.WARNING else ''}"
    before, after = ["", *_HEADER], []
    if level is not Level.ERROR:
        before, after = ["", f"<details><summary>{title}</summary>", *before], ["", "</details>"]
    rows: list[str] = []
    left = room - _size([*before, *after]) - 100
    for entry in found:
        row = _row(entry, origin)
        left -= _size([row])
        if left < 0:
            break
        rows.append(row)
    more = len(found) - len(rows)
    if more:
        rows.append(f"| … | and {more} more | |")
    return [*before, *rows, *after]


def _size(lines: Sequence[str]) -> int:
    return sum(len(line.encode("utf-8", "replace")) + 1 for line in lines)


def _row(entry: Entry, origin: Origin) -> str:
    link = origin.link(entry.file, entry.place.line)
    where = f"[{_code(entry.where)}]({link})" if link else _code(entry.where)
    return f"| {where} | {_code(entry.rule)} {_code(entry.message)} | {_code(entry.after)} |"


def _checked(validation: Validation) -> Iterator[str]:
    if validation.checked:
        named = ", ".join(map(_code, validation.checked[:_MAX_NAMED]))
        more = len(validation.checked) - _MAX_NAMED
        yield f"Checked: {named}" + (f" and {more} more" if more > 0 else "")
    yield from (f"\n- {_code(note, MAX_TOLD)}" for note in notes(validation))


def _code(text: str, limit: int = _MAX_CELL) -> str:
    """A code span that no content can leave: no backtick, no line end, no unescaped bar."""
    flat = shortened(visible(text), limit).replace("`", "'").replace("\\|", "\\ |").replace("|", "\\|")
    return f"`{flat}`" if flat else ""
