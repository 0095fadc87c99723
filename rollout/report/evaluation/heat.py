"""Slices and metrics as one table, coloured by what the candidate lost or gained."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from math import fsum

from rollout.core.evaluation import EvalReport, SliceRow
from rollout.core.verdict import Outcome
from rollout.core.worst import SUCCESS, gains_of
from rollout.report.evaluation.lines import failed_slices, lines, probability
from rollout.report.evaluation.markup import Html, tag
from rollout.report.evaluation.metrics import change_of, known
from rollout.report.evaluation.pieces import Mark, glyph, scrolling, table

# A loss or gain of so much is shown so strongly: points of a share, else per cent of the opponent's value.
_STRENGTHS = (0.005, 0.02, 0.05, 0.1)
_MOST_COLUMNS = 8
_ROWS = 12


def heat(report: EvalReport, mark: Mark) -> Html | None:
    """Slices and metrics, coloured by what the candidate lost or gained, worst slice first."""
    rows = report.quality.slices
    if not rows:
        return None
    names, failed = _heated(report), failed_slices(report)
    head = ["slice", "n", "lost", "gained", "p (Holm)", *(known(name).title for name in names)]
    body = [
        _heat_row(report, row, names, failed=row.slice in failed, hidden=place >= _ROWS)
        for place, row in enumerate(rows)
    ]
    more = f"Show all {len(rows)} slices"
    return tag(
        "section",
        tag("h2", "Slices"),
        tag("p", f"Candidate minus {report.measured.opponent}, worst slice first.", _scale(), class_="lead"),
        scrolling(table(head, body, "Change of every metric in every slice", class_="heat"), "Slices"),
        tag("button", more, type="button", class_="button", data_unfold="true")
        if len(rows) > _ROWS
        else None,
        id=mark("slices", report),
        class_="slices-section",
    )


def _heated(report: EvalReport) -> list[str]:
    """Right answers first, then what is judged, then the rest that both sides have."""
    judged = [line.metric for line in lines(report) if line.verdict is not None]
    rest = [row.metric for row in report.quality.metrics]
    compared = set(
        chain.from_iterable(gains_of(case, report.measured.opponent) for case in report.measured.cases)
    )
    ordered = dict.fromkeys([SUCCESS, *judged, *rest])
    return [name for name in ordered if name in compared][:_MOST_COLUMNS]


def _heat_row(report: EvalReport, row: SliceRow, names: Sequence[str], *, failed: bool, hidden: bool) -> Html:
    mark = glyph(Outcome.FAIL) if failed else None
    link = tag("a", row.slice, href="#cases", data_slice=row.slice, data_suite=report.subject.suite)
    counts = [str(row.n), str(row.lost), str(row.gained), probability(row.p)]
    return tag(
        "tr",
        tag("th", link, mark, scope="row"),
        *(tag("td", text, class_="number") for text in counts),
        *(_heat_cell(report, row.slice, name) for name in names),
        hidden=hidden,
    )


def _heat_cell(report: EvalReport, slice_: str, name: str) -> Html:
    opponent, of = report.measured.opponent, known(name)
    within = [case for case in report.measured.cases if slice_ in case.slices]
    gains = [found[name] for case in within if name in (found := gains_of(case, opponent))]
    if not gains:
        return tag("td", "–", class_="number none")
    gain = fsum(gains) / len(gains)
    scale = 1.0
    if not of.is_bounded:
        before = [case.scores[opponent][name] for case in within if name in gains_of(case, opponent)]
        scale = abs(fsum(before) / len(before)) or 1.0
    return tag("td", change_of(of.sign * gain, name), class_=f"number {_strength(gain / scale)}")


def _strength(gain: float) -> str:
    level = sum(abs(gain) >= limit for limit in _STRENGTHS)
    return f"{'gain' if gain > 0 else 'loss'}-{level}" if level else "even"


def _scale() -> Html:
    steps = [
        *(f"loss-{level}" for level in (4, 3, 2, 1)),
        "even",
        *(f"gain-{level}" for level in (1, 2, 3, 4)),
    ]
    return tag(
        "span",
        "worse",
        *(tag("i", class_=f"swatch {step}") for step in steps),
        "better",
        class_="scale",
        aria_hidden="true",
    )
