"""Plots as inline SVG. Sizes across are shares of the width, so that letters keep their size on every screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import floor, isfinite, log10

from rollout.core.estimate import quantile
from rollout.core.evaluation import EvalReport, MetricRow, ShardTimings, Side
from rollout.core.score import Unit, shown
from rollout.report.evaluation.markup import Html, joined, tag
from rollout.report.evaluation.metrics import change_of, known, loss_of, span_of

_ROW = 46
_AXIS = 26
_ECDF = 190


def forests(report: EvalReport) -> list[Html]:
    """Differences with intervals and margins, one plot for each unit; better is right, whatever the metric."""
    found: dict[Unit, list[MetricRow]] = {}
    for row in report.metrics:
        if row.effect is not None and row.interval is not None:
            found.setdefault(known(row.metric).unit, []).append(row)
    return [_forest(report, unit, rows) for unit, rows in found.items()]


def latencies(report: EvalReport, most: int = 4) -> list[Html]:
    """Which share of the answers had come after which time: one plot a machine, never two in one."""
    shards = [shard for shard in report.speed.shards if any(_times(shard, side) for side in Side)]
    return [_distribution(report, shard) for shard in shards[:most]]


def _forest(report: EvalReport, unit: Unit, rows: Sequence[MetricRow]) -> Html:
    low, high = _reach(report, rows)
    height = _ROW * len(rows) + _AXIS
    drawn = [_forest_row(report, row, place, low, high) for place, row in enumerate(rows)]
    axis = [_forest_tick(value, low, high, unit, height) for value in _ticks(low, high, 4)]
    zero = _at(0, low, high)
    line = tag("line", x1=zero, x2=zero, y1=0, y2=height - _AXIS, class_="zero")
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
    left, right = (_at(gain, low, high) for gain in _gains(row))
    middle = _at(of.sign * row.effect, low, high)
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
    x = _at(-margin, low, high)
    return joined(
        tag("rect", x=0, y=y - 7, width=x, height=14, class_="beyond"),
        tag("line", x1=x, x2=x, y1=y - 8, y2=y + 8, class_="margin"),
    )


def _forest_tick(value: float, low: float, high: float, unit: Unit, height: int) -> Html:
    x = _at(value, low, high)
    label = f"{100 * value:+.3g}" if unit is Unit.SHARE else f"{value:+.3g}"
    label = "0" if value == 0 else label.replace("-", "−")
    return joined(
        tag("line", x1=x, x2=x, y1=0, y2=height - _AXIS, class_="grid"),
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


def _distribution(report: EvalReport, shard: ShardTimings) -> Html:
    times = {side: found for side in Side if (found := _times(shard, side))}
    limits = _limits(report)
    most = max(*(max(found) for found in times.values()), *limits.values(), 0.0) * 1.04 or 1.0
    grid = [_time_tick(value, most) for value in _ticks(0, most, 5) if value < most * 0.98]
    shares = [_share_tick(share) for share in (0, 0.5, 0.95)]
    curves = tag(
        "svg",
        *(_curve(side, found, most) for side, found in times.items()),
        viewBox="0 0 1000 1000",
        preserveAspectRatio="none",
        width="100%",
        height=_ECDF,
    )
    marks = [mark for side, found in times.items() for mark in _marks(side, found, most)]
    named = "; ".join(
        f"{side} P50 {shown(quantile(found, 0.5), Unit.MILLISECONDS)}, P95 {shown(quantile(found, 0.95), Unit.MILLISECONDS)}"
        for side, found in times.items()
    )
    return tag(
        "figure",
        tag(
            "svg",
            *grid,
            *shares,
            *(_limit(value, most) for value in limits.values()),
            curves,
            *marks,
            role="img",
            aria_label=f"Latency, shard {shard.shard}: {named}",
            width="100%",
            height=_ECDF + _AXIS,
            class_="ecdf",
        ),
        tag(
            "figcaption",
            *_legend(times, limits),
            tag("span", f"shard {shard.shard}, {shard.hardware}", class_="soft"),
        ),
    )


def _times(shard: ShardTimings, side: Side) -> list[float]:
    times = [timing.milliseconds for timing in shard.timings.get(side, ())]
    return sorted(time for time in times if time is not None and isfinite(time))


def _limits(report: EvalReport) -> dict[str, float]:
    gates = report.subject.rules.gates
    names = {"P50": "latency_p50_ms", "P95": "latency_p95_ms", "P99": "latency_p99_ms"}
    return {
        label: gate.max
        for label, name in names.items()
        if (gate := gates.get(name)) is not None and gate.max is not None
    }


def _curve(side: Side, times: Sequence[float], most: float) -> Html:
    points, n = ["0,1000"], len(times)
    for place, time in enumerate(times):
        x = 1000 * time / most
        points += [f"{x:.1f},{1000 - 1000 * place / n:.1f}", f"{x:.1f},{1000 - 1000 * (place + 1) / n:.1f}"]
    points.append("1000,0")
    return tag(
        "polyline", points=" ".join(points), class_=f"curve {side}", vector_effect="non-scaling-stroke"
    )


def _marks(side: Side, times: Sequence[float], most: float) -> list[Html]:
    return [
        tag(
            "circle",
            tag("title", f"{side} {name}: {shown(quantile(times, share), Unit.MILLISECONDS)}"),
            cx=_at(quantile(times, share), 0, most),
            cy=_ECDF * (1 - share),
            r=4,
            class_=f"mark {side}",
        )
        for name, share in (("P50", 0.5), ("P95", 0.95))
    ]


def _limit(value: float, most: float) -> Html:
    x = _at(value, 0, most)
    return tag("line", x1=x, x2=x, y1=0, y2=_ECDF, class_="limit")


def _legend(times: Mapping[Side, Sequence[float]], limits: Mapping[str, float]) -> list[Html]:
    sides = [
        tag(
            "span",
            tag("span", class_=f"key {side}", aria_hidden="true"),
            f"{side} P50 {shown(quantile(found, 0.5), Unit.MILLISECONDS)}, "
            f"P95 {shown(quantile(found, 0.95), Unit.MILLISECONDS)}",
        )
        for side, found in times.items()
    ]
    told = [
        tag(
            "span",
            tag("span", class_="key limit", aria_hidden="true"),
            f"{label} limit {shown(value, Unit.MILLISECONDS)}",
        )
        for label, value in limits.items()
    ]
    return [*sides, *told]


def _time_tick(value: float, most: float) -> Html:
    x = _at(value, 0, most)
    label = "0" if value == 0 else f"{value:,.4g} ms"
    anchor = "start" if value == 0 else "middle"
    return joined(
        tag("line", x1=x, x2=x, y1=0, y2=_ECDF, class_="grid"),
        tag("text", label, x=x, y=_ECDF + 18, text_anchor=anchor, class_="tick"),
    )


def _share_tick(share: float) -> Html:
    y = _ECDF * (1 - share)
    return joined(
        tag("line", x1=0, x2="100%", y1=y, y2=y, class_="grid"),
        tag("text", f"{share:.0%}", x=2, y=y - 4, class_="tick") if share else None,
    )


def _at(value: float, low: float, high: float) -> str:
    return f"{100 * (value - low) / (high - low):.2f}%"


def _ticks(low: float, high: float, about: int) -> list[float]:
    """Round values between two ends."""
    rough = (high - low) / about
    power = 10 ** floor(log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first = -floor(-low / step)
    return [(first + place) * step for place in range(int((high - first * step) / step + 1e-9) + 1)]
