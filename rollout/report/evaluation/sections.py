"""The sections of the page: reasons, metrics, plots, slices and the small print."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from math import fsum

from rollout.core.evaluation import EvalReport, SliceRow
from rollout.core.score import Unit
from rollout.core.verdict import Outcome, Verdict
from rollout.core.worst import SUCCESS, gains_of
from rollout.report.evaluation.facts import digests, facts, missing
from rollout.report.evaluation.lines import (
    WORDS,
    Line,
    failed_slices,
    lines,
    open_verdicts,
    probability,
)
from rollout.report.evaluation.markup import Html, joined, tag
from rollout.report.evaluation.metrics import change_of, known
from rollout.report.evaluation.plots import forests, latencies
from rollout.report.evaluation.proof import prove

_GLYPHS = {
    Outcome.PASS: "✓",
    Outcome.INCONCLUSIVE: "?",
    Outcome.NO_DATA: "–",
    Outcome.ERROR: "!",
    Outcome.FAIL: "✕",
}
# A loss or gain of so much is shown so strongly: points of a share, else per cent of the opponent's value.
_STRENGTHS = (0.005, 0.02, 0.05, 0.1)
_NAMED = 8
_MOST_COLUMNS = 8
_ROWS = 12


Mark = Callable[[str, EvalReport], str]
"""Names a section of a report, so that no two of the page have the same name."""


def glyph(outcome: Outcome) -> Html:
    """The outcome as a sign that does not need its colour."""
    return tag("span", _GLYPHS[outcome], class_=f"glyph {outcome}", role="img", aria_label=WORDS[outcome])


def reasons(report: EvalReport, keys: Mapping[str, tuple[str, int]], mark: Mark) -> Html:
    """Every verdict that is no pass, worst first, with the cases that did it; `keys` names their filter."""
    found = open_verdicts(report)
    blocking = [_reason(report, each, keys) for each in found if each.required]
    notes = [_note(each) for each in found if not each.required]
    passed = [_note(each) for each in report.verdicts if each.outcome is Outcome.PASS]
    return tag(
        "section",
        tag("ol", *blocking, class_="reasons") if blocking else None,
        _folded(f"{_counted(len(notes), 'note')}, blocking nothing", notes) if notes else None,
        _folded(_counted(len(passed), "check") + " passed", passed) if passed else None,
        _again(report),
        id=mark("reasons", report),
        class_="reasons-section",
        aria_label="Reasons",
    )


def metrics(report: EvalReport, mark: Mark) -> Html | None:
    """The metric table, and why others are not in it."""
    sides = report.measured.sides
    sure = f"{2 * report.subject.rules.confidence - 1:.0%} interval"
    head = ["metric", *sides, "change", sure, "n", "allowed"]
    absent = [tag("li", tag("strong", title), tag("span", why)) for title, why in missing(report)]
    if not report.metrics and not absent:
        return None
    return tag(
        "section",
        tag("h2", "Metrics"),
        _scrolling(
            _table(head, [_metric(each) for each in lines(report)], "Metrics of every side"), "Metrics"
        ),
        joined(tag("h3", "Not measured"), tag("ul", *absent, class_="notes")) if absent else None,
        id=mark("metrics", report),
        class_="metrics-section",
    )


def plots(report: EvalReport, mark: Mark) -> Html | None:
    """Differences with their intervals, and how long answers took."""
    opponent, confidence = report.measured.opponent, 2 * report.subject.rules.confidence - 1
    differences, times = forests(report), latencies(report)
    left = len(report.speed.shards) - len(times)
    more = tag("p", f"{left} machines more are in the report as JSON.", class_="lead") if left else None
    note = (
        f"Candidate minus {opponent}, {confidence:.0%} intervals; right is better. Shaded: beyond the margin."
    )
    figures = [
        tag("figure", tag("h3", "Differences"), tag("p", note, class_="lead"), *differences)
        if differences
        else None,
        tag("div", tag("h3", "Latency"), tag("p", _TIMED, class_="lead"), *times, more) if times else None,
    ]
    kept = [figure for figure in figures if figure]
    return (
        tag(
            "section",
            tag("h2", "Plots"),
            tag("div", *kept, class_="figures"),
            id=mark("plots", report),
            class_="plots-section",
        )
        if kept
        else None
    )


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
        _scrolling(_table(head, body, "Change of every metric in every slice", class_="heat"), "Slices"),
        tag("button", more, type="button", class_="button", data_unfold="true")
        if len(rows) > _ROWS
        else None,
        id=mark("slices", report),
        class_="slices-section",
    )


def small_print(report: EvalReport, *, several: bool) -> Html:
    """Everything that says what the report is about, with all digests."""
    rows = [_term(name, text) for name, text in facts(report) if name != "report"]
    codes = [_term(name, text, code=True) for name, text in digests(report)]
    title = f"Details of {report.subject.suite}" if several else "Details"
    return tag(
        "section",
        tag("h2", title),
        tag("dl", *rows, *codes, class_="facts"),
    )


_TIMED = "Share of the answers that had come after so long, one request at a time. Dots: P50 and P95."


def _reason(report: EvalReport, verdict: Verdict, keys: Mapping[str, tuple[str, int]]) -> Html:
    proof = prove(report, verdict)
    figures = [_term(name, text) for name, text in proof.figures]
    key, count = keys.get(verdict.subject, ("", 0))
    link = (
        tag("a", f"Show {_counted(count, 'case')}", href="#cases", data_check=key, class_="button")
        if count
        else None
    )
    named = tag("span", proof.named(_NAMED), class_="soft ids") if proof.cases else None
    return tag(
        "li",
        tag(
            "p",
            glyph(verdict.outcome),
            tag("strong", WORDS[verdict.outcome]),
            tag("code", verdict.subject),
            class_="what",
        ),
        tag("p", proof.reason),
        tag("dl", *figures, class_="figures-list") if figures else None,
        tag("p", link, named, class_="culprits") if link else None,
        class_=f"reason {verdict.outcome}",
    )


def _note(verdict: Verdict) -> Html:
    return tag("li", glyph(verdict.outcome), tag("code", verdict.subject), tag("span", verdict.reason))


def _counted(number: int, name: str) -> str:
    return f"{number} {name}{'s' * (number != 1)}"


def _folded(title: str, rows: Sequence[Html]) -> Html:
    return tag("details", tag("summary", title), tag("ul", *rows, class_="notes"))


def _again(report: EvalReport) -> Html:
    return tag(
        "p",
        tag("span", "Reproduce", class_="label"),
        tag("code", report.command, tabindex="0"),
        tag("button", "Copy", type="button", data_copy=report.command, class_="button"),
        class_="again",
    )


def _metric(line: Line) -> Html:
    verdict = tag("span", class_="glyph") if line.verdict is None else glyph(line.verdict)
    cells = [*line.values, line.change, line.interval, str(line.n)]
    return tag(
        "tr",
        tag("th", verdict, line.title, scope="row"),
        *(tag("td", cell, class_="number") for cell in cells),
        tag("td", line.allowed, class_="allowed"),
        class_="judged" if line.verdict is not None else "told",
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
    if of.unit not in (Unit.SHARE, Unit.SCORE):
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


def _table(head: Sequence[str], rows: Sequence[Html], caption: str, class_: str | None = None) -> Html:
    titles = [
        tag("th", title, scope="col", class_="number" if place > 0 else None)
        for place, title in enumerate(head)
    ]
    return tag(
        "table",
        tag("caption", caption, class_="hidden"),
        tag("thead", tag("tr", *titles)),
        tag("tbody", *rows),
        class_=class_,
    )


def _scrolling(table: Html, name: str) -> Html:
    """Wide tables scroll by themselves, also by keyboard."""
    return tag("div", table, class_="scrolling", role="region", aria_label=name, tabindex="0")


def _term(name: str, text: str, *, code: bool = False) -> Html:
    return tag("div", tag("dt", name), tag("dd", tag("code", text) if code else text))
