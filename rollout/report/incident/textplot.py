"""The plots as lines of text, for Markdown and terminals: one line a time, bars for shares."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from rollout.core.traces import Bucket
from rollout.report.incident.series import GONE, Point, label, looks_of, shares
from rollout.report.spans import aligned
from rollout.usecases.incident import IncidentRecord

_MOST_LINES = 30
_WIDE = 20


def text_plot(record: IncidentRecord) -> str:
    """Share, and bad answers of each version, over time; empty where nothing is known of either."""
    bins = _bins(record)
    if not bins:
        return ""
    steps = shares(record)
    served = list(looks_of(record)) if record.traffic and record.traffic.buckets else []
    form = "%H:%M" if bins[-1] - bins[0] < timedelta(days=1) else "%d %b %H:%M"
    head = ["UTC", "share", ""]
    for name in served:
        head += [f"bad answers of {label(record, name)}", ""]
    rows = [head]
    for place, since in enumerate(bins):
        until = bins[place + 1] if place + 1 < len(bins) else since + (bins[-1] - bins[0]) / len(bins)
        share = _share_at(steps, until)
        row = [
            f"{since.astimezone(UTC):{form}}",
            _bar(share),
            "-" if share is None else f"{100 * share:.3g}%",
        ]
        for name in served:
            row += _of_version(record, name, since, until)
        rows.append(row)
    return "\n".join(aligned(rows)) + "\n"


def _bins(record: IncidentRecord) -> list[datetime]:
    """The beginnings of at most so many equal times."""
    traffic, steps = record.traffic, shares(record)
    if traffic is not None and traffic.buckets:
        since, until, width = traffic.since, traffic.until, timedelta(seconds=traffic.width_s)
        first = datetime.fromtimestamp(int(since.timestamp()) // traffic.width_s * traffic.width_s, UTC)
    elif len(steps) > 1:
        first, until = steps[0][0], max(record.incident.ended_at, steps[-1][0])
        width = max((until - first) / (_MOST_LINES - 1), timedelta(seconds=1))
    else:
        return []
    number = (until - first) // width + 1
    while number > _MOST_LINES:
        width *= 2
        number = (until - first) // width + 1
    return [first + place * width for place in range(number)]


def _share_at(steps: tuple[Point, ...], at: datetime) -> float | None:
    """The share that was in force just before `at`; None before anything is known."""
    known = [share for begins, share in steps if begins < at]
    return known[-1] if known else None


def _of_version(record: IncidentRecord, served: str, since: datetime, until: datetime) -> list[str]:
    assert record.traffic is not None
    inside: list[Bucket] = [
        each for each in record.traffic.buckets if each.served == served and since <= each.at < until
    ]
    requests, bad = sum(each.requests for each in inside), sum(each.bad for each in inside)
    if not requests:
        return ["", "-"]
    return [_bar(bad / requests, "x" if looks_of(record)[served] == GONE else "o"), f"{bad:,}/{requests:,}"]


def _bar(share: float | None, letter: str = "#") -> str:
    if share is None:
        return ""
    return letter * (max(1, round(share * _WIDE)) if share > 0 else 0)
