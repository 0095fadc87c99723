"""How long answers took, as inline SVG: one plot a machine, never two in one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite

from rollout.core.estimate import quantile
from rollout.core.evaluation import EvalReport, ShardTimings, Side
from rollout.core.score import Unit, shown
from rollout.report.evaluation.axis import HEIGHT, at, ticks
from rollout.report.evaluation.markup import Html, joined, tag

_ECDF = 190


def latencies(report: EvalReport, most: int = 4) -> list[Html]:
    """Which share of the answers had come after which time: one plot a machine, never two in one."""
    shards = [shard for shard in report.speed.shards if any(_times(shard, side) for side in Side)]
    return [_distribution(report, shard) for shard in shards[:most]]


def _distribution(report: EvalReport, shard: ShardTimings) -> Html:
    times = {side: found for side in Side if (found := _times(shard, side))}
    limits = _limits(report)
    most = max(*(max(found) for found in times.values()), *limits.values(), 0.0) * 1.04 or 1.0
    grid = [_time_tick(value, most) for value in ticks(0, most, 5) if value < most * 0.98]
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
            height=_ECDF + HEIGHT,
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
            cx=at(quantile(times, share), 0, most),
            cy=_ECDF * (1 - share),
            r=4,
            class_=f"mark {side}",
        )
        for name, share in (("P50", 0.5), ("P95", 0.95))
    ]


def _limit(value: float, most: float) -> Html:
    x = at(value, 0, most)
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
    x = at(value, 0, most)
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
