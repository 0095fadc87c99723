"""What each metric's source answered, as a table for people and for machines, and the exit status."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from rollout.core.metric import Counts, MetricSpec, Samples
from rollout.core.plain import plain
from rollout.usecases.metricscheck import GATEWAYS, MetricCheck

SCHEMA = "adapter-rollout/metric-checks/v1"
_LIST_SCHEMA = "adapter-rollout/metric-list/v1"
_QUERY = 240
_COMPLAINT = 400


def exit_status(checks: Sequence[MetricCheck]) -> int:
    """0 if every source answered, 4 if one did not. No check at all is no answer."""
    return 0 if checks and all(each.complaint is None for each in checks) else 4


def as_text(checks: Sequence[MetricCheck]) -> str:
    """One line a metric, with what was asked below it; errors with what to do."""
    width = max(len(each.metric) for each in checks)
    provider = max(len(each.provider) for each in checks)
    lines: list[str] = []
    for place, each in enumerate(checks):
        lines += _lines(each, width, provider)
        after = checks[place + 1].advice if place + 1 < len(checks) else None
        if each.advice and each.advice != after:  # once for all that it helps
            lines.append(f"  next: {plain(each.advice, _COMPLAINT, nothing='')}")
    silent = sum(each.complaint is not None for each in checks)
    lines.append(
        f"{len(checks)} metric{'s' * (len(checks) > 1)}: "
        + (f"{silent} did not answer" if silent else "all answered")
    )
    return "\n".join(lines) + "\n"


def as_json(checks: Sequence[MetricCheck]) -> str:
    """For machines. Single values and marks are left out."""
    rows = [{**asdict(each), "samples": _plain_samples(each.samples)} for each in checks]
    return json.dumps({"schema": SCHEMA, "checks": rows}, indent=2, ensure_ascii=False) + "\n"


def list_as_text(specs: Sequence[MetricSpec]) -> str:
    """One line a metric: id, kind, who is asked, stages, title."""
    rows = [(spec.id, str(spec.kind), _asked(spec), ",".join(spec.stages), spec.title) for spec in specs]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]]) + "\n"
        for row in rows
    )


def list_as_json(specs: Sequence[MetricSpec]) -> str:
    """For machines."""
    rows = [spec.model_dump(mode="json", by_alias=True, exclude_none=True) for spec in specs]
    return json.dumps({"schema": _LIST_SCHEMA, "metrics": rows}, indent=2, ensure_ascii=False) + "\n"


def _asked(spec: MetricSpec) -> str:
    return spec.source.provider if spec.source else GATEWAYS


def _lines(check: MetricCheck, width: int, provider: int) -> Iterator[str]:
    head = f"{check.metric:<{width}}  {check.provider:<{provider}}  {check.took_s * 1000:>6.0f} ms"
    if check.samples is None:
        yield f"{head}  error: {plain(check.complaint or '', _COMPLAINT, nothing='no reason')}"
        return
    if not check.windowed:
        yield f"{head}  answers"
        return
    yield f"{head}  stable {_arm(check.samples.stable)}, candidate {_arm(check.samples.candidate)}" + "".join(
        f"; {name} {_number(stable)} and {_number(candidate)}"
        for name, (stable, candidate) in check.samples.observed.items()
        if stable is not None or candidate is not None
    )
    for query in check.samples.query:
        yield f"  {plain(query, _QUERY, nothing='')}"


def _arm(counts: Counts | None) -> str:
    if counts is None or not counts.total:
        return "no data"
    return f"{counts.bad} of {counts.total}" if counts.bad else f"{counts.total}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _plain_samples(samples: Samples | None) -> dict[str, object] | None:
    if samples is None:
        return None
    return {
        "stable": samples.stable and asdict(samples.stable),
        "candidate": samples.candidate and asdict(samples.candidate),
        "observed": dict(samples.observed),
        "query": list(samples.query),
    }
