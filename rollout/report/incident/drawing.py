"""Plots over time as inline SVG: places are shares of the width, so that letters keep their size on every screen."""

from __future__ import annotations

from datetime import datetime

from rollout.report.evaluation.axis import HEIGHT
from rollout.report.evaluation.axis import ticks as round_values
from rollout.report.evaluation.markup import Html, joined, tag
from rollout.report.incident.series import Axis, Drawn, Plot

_TALL = 150
_ROOM = 16
"""Above the highest value, for the names of marks."""


def draw(plot: Plot, axis: Axis) -> Html:
    """A figure with its legend."""
    most = _most(plot)
    values = [each for each in round_values(0, most, 3) if 0 <= each <= most * 0.98]
    lines = tag(
        "svg",
        *(_line(line, axis, most) for line in plot.lines),
        viewBox="0 0 1000 1000",
        preserveAspectRatio="none",
        width="100%",
        height=_TALL,
        y=_ROOM,
    )
    return tag(
        "figure",
        tag("h3", plot.title),
        tag("p", plot.lead, class_="lead"),
        tag(
            "svg",
            *(_time_tick(at, name, axis) for at, name in axis.ticks),
            *(_value_tick(value, most, percent=plot.percent) for value in values),
            *_marks(axis),
            lines,
            *(point for line in plot.lines for point in _points(line, axis, most)),
            role="img",
            aria_label=f"{plot.title}: {_told(plot)}",
            width="100%",
            height=_TALL + _ROOM + HEIGHT,
            class_="over-time",
        ),
        tag("figcaption", *(_key(line) for line in plot.lines)) if len(plot.lines) > 1 else None,
    )


def _most(plot: Plot) -> float:
    highest = max((value for line in plot.lines for _, value in line.points), default=0.0)
    if plot.percent:
        return min(1.0, highest) * 1.1 or 0.1
    return highest * 1.1 or 1.0


def _place(at: datetime, axis: Axis) -> float:
    """Where a moment is, from 0 to 1."""
    whole = (axis.until - axis.since).total_seconds()
    return min(1.0, max(0.0, (at - axis.since).total_seconds() / whole))


def _line(line: Drawn, axis: Axis, most: float) -> Html:
    points, last = [], None
    for at, value in line.points:
        x, y = 1000 * _place(at, axis), 1000 * (1 - value / most)
        if line.steps and last is not None:
            points.append(f"{x:.1f},{last:.1f}")
        points.append(f"{x:.1f},{y:.1f}")
        last = y
    if line.steps and last is not None:
        points.append(f"1000,{last:.1f}")
    return tag(
        "polyline", points=" ".join(points), class_=f"curve {line.look}", vector_effect="non-scaling-stroke"
    )


def _points(line: Drawn, axis: Axis, most: float) -> list[Html]:
    """A lonely point would be no line: it is a dot."""
    if line.steps or len(line.points) != 1:
        return []
    ((at, value),) = line.points
    return [
        tag(
            "circle",
            cx=f"{100 * _place(at, axis):.2f}%",
            cy=_ROOM + _TALL * (1 - value / most),
            r=3.5,
            class_=f"mark {line.look}",
        )
    ]


def _marks(axis: Axis) -> list[Html]:
    """Moments that lie close together have one name, where there is room for it."""
    drawn, taken = [], -1.0
    for name, at in axis.marks:
        place = _place(at, axis)
        x = f"{100 * place:.2f}%"
        drawn.append(tag("line", tag("title", name), x1=x, x2=x, y1=_ROOM, y2=_ROOM + _TALL, class_="moment"))
        if place - taken > 0.16:
            late = place > 0.85
            drawn.append(
                tag(
                    "text",
                    name,
                    x=x,
                    y=_ROOM - 4,
                    text_anchor="end" if late else "middle" if place > 0.08 else "start",
                    class_="tick",
                )
            )
            taken = place
    return drawn


def _time_tick(at: datetime, name: str, axis: Axis) -> Html:
    place = _place(at, axis)
    x = f"{100 * place:.2f}%"
    anchor = "start" if place < 0.04 else "end" if place > 0.96 else "middle"
    return joined(
        tag("line", x1=x, x2=x, y1=_ROOM, y2=_ROOM + _TALL, class_="grid"),
        tag("text", name, x=x, y=_ROOM + _TALL + 17, text_anchor=anchor, class_="tick"),
    )


def _value_tick(value: float, most: float, *, percent: bool) -> Html:
    y = _ROOM + _TALL * (1 - value / most)
    name = f"{100 * value:.3g}%" if percent else f"{value:,.4g}"
    return joined(
        tag("line", x1=0, x2="100%", y1=y, y2=y, class_="grid"),
        tag("text", name, x=2, y=y - 4, class_="tick") if value else None,
    )


def _key(line: Drawn) -> Html:
    return tag("span", tag("span", class_=f"key {line.look}", aria_hidden="true"), line.name)


def _told(plot: Plot) -> str:
    """For whoever does not see it: what each line reaches."""
    told = []
    for line in plot.lines:
        if line.points:
            highest = max(value for _, value in line.points)
            told.append(f"{line.name} up to {f'{100 * highest:.3g}%' if plot.percent else f'{highest:,.4g}'}")
    return "; ".join(told)
