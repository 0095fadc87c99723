"""Simulated releases -> text, JSON or Markdown: how they ended, after how much, and the turns of one of them."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import ceil
from typing import Any

import click

from rollout.report.spans import aligned, per_cent, span
from rollout.report.verdicts import cell
from rollout.usecases.simulate import Course, Ending

_COLOURS = {Ending.PROMOTED: "green", Ending.ROLLED_BACK: "red"}
_HEAD = ("ended", "runs", "of all", "users met", "9 in 10 up to", "looks", "time", "share")
_TURNS = ("look", "time", "at", "met", "what was decided")
_TOLD = 160
_NARROWEST = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """What was simulated, in words, and how it went. `notes` are what a reader has to know."""

    plan: str
    traffic: str
    every: timedelta
    seed: int
    courses: Sequence[Course]
    notes: Sequence[str] = ()


def render(found: Simulation, form: str, *, width: int | None = None) -> str:
    """The simulation in one of the forms `text`, `json`, `markdown`. Text is wrapped where there is a `width`."""
    if form == "text":
        return _as_text(found, width)
    return {"json": _as_json, "markdown": _as_markdown}[form](found)


def _as_text(found: Simulation, width: int | None) -> str:
    lines = [click.style(_headline(found), bold=True), f"  {found.traffic}", ""]
    endings, rows = _endings(found)
    table = aligned([_HEAD, *rows], right=frozenset({1, 2, 3, 4, 5}))
    lines += [f"  {table[0]}"]
    lines += [
        click.style(f"  {line}", fg=_COLOURS.get(each, "yellow"))
        for each, line in zip(endings, table[1:], strict=True)
    ]
    lines += ["", "  the first run:"]
    lines += [part for line in _turn_lines(found) for part in _wrapped(line, width)]
    lines += [f"  ! {note}" for note in found.notes]
    return "\n".join(lines) + "\n"


def _turn_lines(found: Simulation) -> list[tuple[str, str]]:
    """(the columns, what was decided)"""
    rows = [_TURNS, *_turns(found)]
    columns = aligned([(*row[:-1], "|") for row in rows], right=frozenset({0, 3}))
    return [(f"    {line[:-1]}", row[-1]) for line, row in zip(columns, rows, strict=True)]


def _wrapped(line: tuple[str, str], width: int | None) -> list[str]:
    columns, told = line
    if width is None:
        return [f"{columns}{told}"]
    parts = textwrap.wrap(told, max(_NARROWEST, width - len(columns)))
    return [f"{' ' * len(columns) if place else columns}{part}" for place, part in enumerate(parts)]


def _as_markdown(found: Simulation) -> str:
    lines = [f"### {_headline(found)}", "", found.traffic, ""]
    for head, rows in ((_HEAD, _endings(found)[1]), (_TURNS, _turns(found))):
        lines += [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
        lines += [*(f"| {' | '.join(map(cell, row))} |" for row in rows), ""]
    return "\n".join([*lines, *(f"- {note}" for note in found.notes)]).rstrip() + "\n"


def _headline(found: Simulation) -> str:
    runs = len(found.courses)
    return (
        f"plan {found.plan}: {runs:,} {'run' if runs == 1 else 'runs'} from seed {found.seed}, "
        f"a look each {span(found.every)}"
    )


def _endings(found: Simulation) -> tuple[list[Ending], list[tuple[str, ...]]]:
    """(what occurred, its row), in the order of the endings."""
    by_ending = {ending: [each for each in found.courses if each.ending is ending] for ending in Ending}
    occurred = [ending for ending, courses in by_ending.items() if courses]
    return occurred, [_row(ending, by_ending[ending], len(found.courses)) for ending in occurred]


def _row(ending: Ending, courses: Sequence[Course], of: int) -> tuple[str, ...]:
    return (
        ending.replace("_", " "),
        f"{len(courses):,}",
        per_cent(len(courses) / of),
        f"{_quantile([each.met for each in courses], 0.5):,.0f}",
        f"{_quantile([each.met for each in courses], 0.9):,.0f}",
        f"{_quantile([each.looks for each in courses], 0.5):,.0f}",
        span(timedelta(seconds=_quantile([each.elapsed.total_seconds() for each in courses], 0.5))),
        str(sorted(each.share for each in courses)[(len(courses) - 1) // 2]),
    )


def _quantile(values: Sequence[float], part: float) -> float:
    """The least value that so large a part of all is not above."""
    return sorted(values)[max(0, ceil(part * len(values)) - 1)]


def _turns(found: Simulation) -> list[tuple[str, ...]]:
    return [
        (f"{turn.look:,}", span(turn.elapsed), turn.place, f"{turn.met:,}", _short(turn.told))
        for turn in found.courses[0].turns
    ]


def _short(text: str) -> str:
    return text if len(text) <= _TOLD else f"{text[: _TOLD - 1]}…"


def _as_json(found: Simulation) -> str:
    data = {
        "schema": "adapter-rollout/simulation/v1",
        "plan": found.plan,
        "traffic": found.traffic,
        "every_seconds": found.every.total_seconds(),
        "seed": found.seed,
        "endings": {
            str(ending): sum(each.ending is ending for each in found.courses) / len(found.courses)
            for ending in Ending
        },
        "runs": [_data(each) for each in found.courses],
        "notes": list(found.notes),
    }
    return json.dumps(data, indent=2, allow_nan=False) + "\n"


def _data(course: Course) -> dict[str, Any]:
    return {
        "ending": str(course.ending),
        "reason": course.reason,
        "share": str(course.share),
        "looks": course.looks,
        "met": course.met,
        "seconds": course.elapsed.total_seconds(),
        "turns": [
            {
                "look": turn.look,
                "seconds": turn.elapsed.total_seconds(),
                "at": turn.place,
                "met": turn.met,
                "told": turn.told,
            }
            for turn in course.turns
        ],
    }
