"""The record for a terminal."""

from __future__ import annotations

import click

from rollout.core.plain import plain
from rollout.report.incident.textplot import text_plot
from rollout.report.incident.timeline import Line, timeline
from rollout.report.incident.words import (
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
from rollout.report.spans import aligned
from rollout.usecases.incident import IncidentRecord

_COLOURS = {"harm": "yellow", "rollback": "red", "proof": "green"}
_SIGNS = {True: "worked", False: "open", None: ""}


def to_text(record: IncidentRecord) -> str:
    """All of it but the questions."""
    lines = [click.style(_one(title(record)), bold=True), "", *map(_one, summary(record))]
    if items := open_items(record):
        lines += ["", click.style("Open", fg="red", bold=True), *(f"  {_one(each)}" for each in items)]
    lines += _section("Times", _rows(time_rows(record)))
    lines += _section("Impact", _rows(impact_rows(record)))
    did = [[_SIGNS[each.worked], _one(each.what), _one(each.told)] for each in tried(record)]
    lines += _section("What was tried", aligned(did))
    judged = [f"{each.outcome}: {_one(f'{each.subject}: {each.reason}')}" for each in record.found]
    lines += _section("What the judge saw", judged)
    if plot := text_plot(record):
        lines += _section("Over time", plot.rstrip("\n").split("\n"))
    lines += _section("Timeline (UTC)", _timeline(timeline(record)))
    lines += _section("Facts", _rows(fact_rows(record)))
    lines += _section("What is not known", [_one(each) for each in gap_lines(record)])
    return "\n".join(lines) + "\n"


def _section(name: str, lines: list[str]) -> list[str]:
    return ["", click.style(name, bold=True), *(f"  {line}" for line in lines)] if lines else []


def _rows(rows: list[Row]) -> list[str]:
    return aligned([[_one(row.name), _one(row.value), _one(row.note)] for row in rows])


def _timeline(lines: list[Line]) -> list[str]:
    return [
        f"{line.when}  {line.source:<7}  "
        + click.style(_one(line.told), fg=_COLOURS.get(line.mark))
        + click.style(f"  [{_one(line.who)}]", dim=True)
        for line in lines
    ]


def _one(text: str) -> str:
    return plain(text, 2000, nothing="")
