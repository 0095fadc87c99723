"""Differences with intervals and margins as inline SVG: better is right, whatever the metric."""

from __future__ import annotations

from collections.abc import Sequence

from rollout.core.evaluation import EvalReport, MetricRow
from rollout.core.score import Unit
from rollout.report.evaluation.axis import HEIGHT, at, ticks
from rollout.report.evaluation.markup import Html, joined, tag
from rollout.report.evaluation.metrics import change_of, known, loss_of, span_of

_ROW = 46


def forests(report: EvalReport) -> list[Html]:
    """Differences with intervals and margins, one plot for each unit; better is right, whatever the metric."""
    found: dict[Unit, list[MetricRow]] = {}
    for row in report.metrics:
        if row.effect is not None and row.interval is not None:
            found.setdefault(known(row.metric).unit, []).append(row)
    return [_forest(report, unit, rows) for unit, rows in found.items()]


def _forest(report: EvalReport, unit: Unit, rows: Sequence[MetricRow]) -> Html:
    low, high = _reach(report, rows)
    height = _ROW * len(rows) + HEIGHT
    drawn = [_forest_row(report, row, place, low, high) for place, row in enumerate(rows)]
    axis = [_forest_tick(value, low, high, unit, height) for value in ticks(low, high, 4)]
    zero = at(0, low, high)
    line = tag("line", x1=zero, x2=zero, y1=0, y2=height - HEIGHT, class_="zero")
    named = f"Differences of {len(rows)} metrics in {_unit_name(unit)}, with intervals; better is right"
    return tag(
        "svg", line, *axis, *drawn, role="img", aria_label=named, width="100%", height=height, class_="forest"
    )


def _reach(report: EvalReport, rows: Sequence[MetricRow]) -> tuple[float, float]:
    ends = [0.0]
    for row in rows:
        ends += [*_gains(row), -(_margin(report, row) or 0.0)]
    low, high = min(ends), max(ends)
    room = 0.06 * (high - low) or 1e-9
    return low - room, high + room


def _forest_row(report: EvalReport, row: MetricRow, place: int, low: float, high: float) -> Html:
    assert row.effect is not None
    of, top = known(row.metric), place * _ROW
    y = top + 32
    left, right = (at(gain, low, high) for gain in _gains(row))
    middle = at(of.sign * row.effect, low, high)
    told = f"{of.title}: {change_of(row.effect, row.metric)} ({span_of(row.interval, row.metric)})"
    side = "worse" if _gains(row)[1] < 0 else "better" if _gains(row)[0] > 0 else "even"
    return tag(
        "g",
        tag("title", told),
        tag("text", of.title, x=0, y=top + 16, class_="name"),
        tag(
            "text",
            change_of(row.effect, row.metric),
            x="100%",
            y=top + 16,
            text_anchor="end",
            class_="figure",
        ),
        _margin_mark(_margin(report, row), y, low, high),
        tag("line", x1=left, x2=right, y1=y, y2=y, class_=f"interval {side}"),
        tag("circle", cx=middle, cy=y, r=4.5, class_=f"point {side}"),
    )


def _margin_mark(margin: float | None, y: float, low: float, high: float) -> Html | None:
    if margin is None:
        return None
    x = at(-margin, low, high)
    return joined(
        tag("rect", x=0, y=y - 7, width=x, height=14, class_="beyond"),
        tag("line", x1=x, x2=x, y1=y - 8, y2=y + 8, class_="margin"),
    )


def _forest_tick(value: float, low: float, high: float, unit: Unit, height: int) -> Html:
    x = at(value, low, high)
    label = f"{100 * value:+.3g}" if unit is Unit.SHARE else f"{value:+.3g}"
    label = "0" if value == 0 else label.replace("-", "−")
    return joined(
        tag("line", x1=x, x2=x, y1=0, y2=height - HEIGHT, class_="grid"),
        tag("text", label, x=x, y=height - 8, text_anchor="middle", class_="tick"),
    )


def _gains(row: MetricRow) -> tuple[float, float]:
    assert row.interval is not None
    low, high = sorted(known(row.metric).sign * end for end in (row.interval.low, row.interval.high))
    return low, high


def _margin(report: EvalReport, row: MetricRow) -> float | None:
    return loss_of(report, row.metric, report.measured.opponent)


def _unit_name(unit: Unit) -> str:
    return {Unit.SHARE: "points", Unit.SCORE: "score"}.get(unit, unit.value)
