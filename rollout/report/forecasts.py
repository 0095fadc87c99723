"""A forecast -> text, JSON or Markdown: what will happen, when at the earliest, and what it can see."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import click

from rollout.core.duration import written
from rollout.core.itinerary import Stay
from rollout.core.lifecycle import Phase
from rollout.core.metric import Kind, Requirement
from rollout.core.needs import Need
from rollout.core.plan import Share
from rollout.report.spans import aligned, per_cent, span
from rollout.report.verdicts import cell
from rollout.usecases.forecast import Forecast

_STATES = ("", "state", "share", "left at the earliest", "requests")
_METRICS = ("metric", "requires", "no failures", "as usual", "sees", "in")


def render(found: Forecast, form: str) -> str:
    """The forecast in one of the forms `text`, `json`, `markdown`."""
    return {"text": _as_text, "json": _as_json, "markdown": _as_markdown}[form](found)


def warnings(found: Forecast) -> list[str]:
    """What somebody should look at before it begins."""
    told = []
    if found.is_stable:
        told.append(f"{found.candidate} is stable already: this is the way of a next version")
    if found.waits:
        told.append(found.waits)
    for stay in found.stays:
        told += _complaints(stay)
    if found.traffic.per_second is None:
        told.append(f"how much is asked is {found.traffic.told_by}. Until then times are the plan's alone")
    return told


def _complaints(stay: Stay) -> list[str]:
    if stay.begins is None:
        return []
    where, told = title(stay), []
    for need in stay.needs:
        if need.spec.required and _needed(need) is None:
            told.append(f"{where}: {need.spec.id} is never proven at {_base(need)} of both arms")
    if stay.late and stay.deadline is not None and stay.requests is not None:
        takes = max(stay.takes or timedelta(0), stay.at_least)
        told.append(
            f"{where}: its deadline of {span(stay.deadline)} is shorter than the {span(takes)} it takes"
        )
    if stay.pause:
        told.append(f"{where}: it pauses until {stay.pause} runs `rollout resume`")
    return told


def title(stay: Stay) -> str:
    """What a state is called."""
    if stay.phase is Phase.SHADOW:
        return "shadow"
    if stay.phase is Phase.PROMOTED:
        return "rollback window"
    return f"step {stay.step + 1}"


def _as_text(found: Forecast) -> str:
    lines = [click.style(_headline(found), bold=True)]
    lines += [f"  {what:<9} {told}" for what, told in _facts(found)]
    lines += ["", *(f"  {line}" for line in aligned([_STATES, *_states(found)], right=frozenset({2, 4})))]
    for stay in _ahead(found):
        lines += ["", f"  {_heading(stay)}"]
        rows = [_METRICS, *(_metric(stay, need) for need in stay.needs)]
        lines += [f"    {line}" for line in aligned(rows, right=frozenset({2, 3, 5}))]
    told = warnings(found)
    lines += [""] * bool(told) + [click.style(f"  ! {each}", fg="yellow") for each in told]
    return "\n".join(lines) + "\n"


def _as_markdown(found: Forecast) -> str:
    lines = [f"### {_headline(found)}", "", *(f"- {what}: {told}" for what, told in _facts(found)), ""]
    lines += _table(_STATES, _states(found), right=(2, 4))
    for stay in _ahead(found):
        lines += ["", f"#### {_heading(stay)}", ""]
        lines += _table(_METRICS, [_metric(stay, need) for need in stay.needs], right=(2, 3, 5))
    told = warnings(found)
    lines += ["", "> [!WARNING]", *(f"> {cell(each)}  " for each in told)] if told else []
    return "\n".join(lines) + "\n"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]], right: tuple[int, ...]) -> list[str]:
    rule = "|".join("---:" if place in right else "---" for place in range(len(head)))
    return [f"| {' | '.join(head)} |", f"|{rule}|", *(f"| {' | '.join(map(cell, row))} |" for row in rows)]


def _headline(found: Forecast) -> str:
    return f"{found.name} @ {found.environment}, by plan {found.plan.name}"


def _facts(found: Forecast) -> list[tuple[str, str]]:
    zone = _zone(found)
    per_second = found.traffic.per_second
    asked = "not known" if per_second is None else f"{per_second:.3g} requests/s ({found.traffic.told_by})"
    plan = found.plan
    return [
        ("candidate", "the next version" if found.is_stable else found.candidate),
        ("replaces", found.stable or "the base model"),
        ("traffic", asked),
        ("failures", _rates(found)),
        ("begins", f"{_begins(found).astimezone(zone):%a %Y-%m-%d %H:%M} {zone}"),
        (
            "alpha",
            f"{per_cent(plan.alpha)} false rollbacks, {found.false_rollbacks:.2g} a year"
            f" at {found.releases_per_year:g} releases",
        ),
        (
            "proof",
            f"{per_cent(plan.alpha_advance)} false advances, per metric and step",
        ),
        ("cool-down", f"nothing new begins for {span(plan.cool_down)} after a rollback"),
    ]


def _rates(found: Forecast) -> str:
    known = found.traffic.base_rates
    rates = ", ".join(f"{metric} {per_cent(rate)}" for metric, rate in known.items())
    return f"{rates} of stable" if known else "stable's are not known, and taken as none"


def _begins(found: Forecast) -> datetime:
    return next((stay.begins for stay in found.stays if stay.begins is not None), found.now)


def _zone(found: Forecast) -> tzinfo:
    """That of the plan's windows, in which its people think; UTC if it has none."""
    return ZoneInfo(found.plan.windows[0].time_zone) if found.plan.windows else UTC


def _states(found: Forecast) -> list[tuple[str, ...]]:
    zone = _zone(found)
    short = any(stay.at_least < timedelta(minutes=1) for stay in found.stays)
    form = "%a %d %b %H:%M:%S" if short else "%a %d %b %H:%M"
    return [
        (
            "here" if stay is found.here else "done" if stay.begins is None else "",
            title(stay),
            stay.place,
            ""
            if stay.ends is None
            else f"{stay.ends.astimezone(zone):{form}}" + (" (window)" if stay.opens else ""),
            _amount(stay),
        )
        for stay in found.stays
    ]


def _amount(stay: Stay) -> str:
    if not stay.samples:
        return ""
    if stay.requests is None:
        return "never enough"
    return f"{stay.requests:,}" + (f" = {span(stay.takes)}" if stay.takes is not None else "")


def _ahead(found: Forecast) -> list[Stay]:
    return [stay for stay in found.stays if stay.begins is not None and stay.needs]


def _heading(stay: Stay) -> str:
    what = "pairs" if stay.phase is Phase.SHADOW else "requests"
    limit = "" if stay.deadline is None else f", {span(stay.deadline)} at most"
    return f"{title(stay)}, {stay.place}: {span(stay.at_least)} and {stay.samples:,} {what} at least{limit}"


def _metric(stay: Stay, need: Need) -> tuple[str, ...]:
    return (
        need.spec.id + ("" if need.spec.required else " (not required)"),
        _requires(stay),
        _number(need.clean),
        "" if need.base is None else f"{_number(need.usual)} at {per_cent(need.base)}",
        _harm(stay, need),
        f"{need.seen:,}",
    )


def _requires(stay: Stay) -> str:
    if stay.share == Share.FULL and stay.phase is Phase.CANARY:
        return "its limit"
    return "no harm" if stay.requires is Requirement.NO_HARM else "no worse"


def _number(requests: int | None) -> str:
    return "never" if requests is None else f"{requests:,}"


def _harm(stay: Stay, need: Need) -> str:
    if need.harm is None:
        return "nothing"
    if stay.share == Share.FULL and stay.phase is Phase.CANARY:
        return f"more than {per_cent(need.harm)}"
    told: dict[Kind, Callable[[float], str]] = {
        Kind.RATE: lambda harm: f"{_base(need)} -> {per_cent(harm)}",
        Kind.LATENCY: lambda harm: f"+{100 * (harm - 1):.0f}%",
        Kind.SCORE: lambda harm: f"-{harm:.2g}",
    }
    return told[need.spec.kind](need.harm)


def _base(need: Need) -> str:
    return per_cent(need.base or 0.0)


def _needed(need: Need) -> int | None:
    return need.clean if need.base is None else need.usual


def _as_json(found: Forecast) -> str:
    data = {
        "schema": "adapter-rollout/forecast/v1",
        "name": found.name,
        "environment": found.environment,
        "at": found.now.isoformat(),
        "candidate": found.candidate,
        "stable": found.stable,
        "plan": found.plan.name,
        "requests_per_second": found.traffic.per_second,
        "cool_down": written(found.plan.cool_down),
        "releases_per_year": found.releases_per_year,
        "false_rollbacks_per_year": found.false_rollbacks,
        "here": None if found.here is None else found.here.step,
        "states": [_state_data(stay) for stay in found.stays],
        "warnings": warnings(found),
    }
    return json.dumps(data, indent=2, allow_nan=False) + "\n"


def _state_data(stay: Stay) -> dict[str, Any]:
    return {
        "state": str(stay.phase),
        "step": stay.step,
        "share": str(stay.share),
        "requires": stay.requires and str(stay.requires),
        "begins": stay.begins and stay.begins.isoformat(),
        "ends": stay.ends and stay.ends.isoformat(),
        "waits_for_window": stay.opens is not None,
        "at_least": written(stay.at_least),
        "deadline": None if stay.deadline is None else written(stay.deadline),
        "late": stay.late,
        "pause": stay.pause,
        "min_samples": stay.samples,
        "requests": stay.requests,
        "takes_seconds": None if stay.takes is None else stay.takes.total_seconds(),
        "metrics": [
            {
                "metric": need.spec.id,
                "required": need.spec.required,
                "without_failures": need.clean,
                "base_rate": need.base,
                "at_base_rate": need.usual,
                "sees": need.harm,
                "in_requests": need.seen,
            }
            for need in stay.needs
        ],
    }
