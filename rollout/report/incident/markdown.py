"""The record as Markdown, for a wiki, an issue or a pull request: whatever others wrote in it is shown and does nothing."""

from __future__ import annotations

from collections.abc import Sequence

from rollout.report.evaluation.markdown import clipped, escaped, table
from rollout.report.incident.textplot import text_plot
from rollout.report.incident.timeline import timeline
from rollout.report.incident.words import (
    QUESTIONS,
    Row,
    fact_rows,
    gap_lines,
    impact_rows,
    open_items,
    summary,
    time_rows,
    title,
    tried,
)
from rollout.usecases.incident import IncidentRecord

_LONGEST = 2000
_SIGNS = {True: "worked", False: "**open**", None: ""}


def to_markdown(record: IncidentRecord) -> str:
    """The whole record, with the questions as empty sections."""
    parts = [
        f"# {_cell(title(record))}",
        "\n".join(f"{number}. {_cell(line)}" for number, line in enumerate(summary(record), start=1)),
        "## Open",
        _list(open_items(record), nothing="Nothing: it is verified, and git says what serves."),
        "## Times",
        _rows(("", "", "From what"), time_rows(record)),
        "## Impact",
        _rows(("", "", ""), impact_rows(record)),
        "## What was tried",
        table(
            [["What", "", ""]]
            + [[_cell(each.what), _SIGNS[each.worked], _cell(each.told)] for each in tried(record)],
            right=range(0),
        ),
        *_judged(record),
        *_over_time(record),
        "## Timeline",
        table(
            [["When (UTC)", "Source", "Who", "What"]]
            + [[line.when, str(line.source), _cell(line.who), _cell(line.told)] for line in timeline(record)],
            right=range(0),
        ),
        "## Facts",
        _rows(("", "", ""), fact_rows(record)),
        "## What is not known",
        _list(gap_lines(record), nothing="Nothing: every source was read."),
        "## For the review",
        *(f"### {question}" for question in QUESTIONS),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _judged(record: IncidentRecord) -> list[str]:
    if not record.found:
        return []
    rows = [
        [
            _cell(each.subject),
            each.outcome,
            f"{each.samples[0]:,}",
            f"{each.samples[1]:,}",
            _cell(each.reason),
        ]
        for each in record.found
    ]
    head = ["Metric", "", "Stable", "Taken back", "Why"]
    return ["## What the judge saw", table([head, *rows], right=range(2, 4))]


def _over_time(record: IncidentRecord) -> list[str]:
    plot = text_plot(record)
    # Numbers, times and versions of ours only: nothing in it can end the block.
    return ["## Over time", f"```text\n{plot.replace('`', chr(39))}```"] if plot else []


def _rows(head: tuple[str, str, str], rows: Sequence[Row]) -> str:
    noted = any(row.note for row in rows)
    cells = [[_cell(row.name), _cell(row.value), *([_cell(row.note)] if noted else [])] for row in rows]
    return table([list(head if noted else head[:2]), *cells], right=range(0))


def _list(items: Sequence[str], *, nothing: str) -> str:
    return "\n".join(f"- {_cell(each)}" for each in items) or nothing


def _cell(text: str) -> str:
    return escaped(clipped(text, _LONGEST))
