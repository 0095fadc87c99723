"""The sections of the page: reasons, metrics, plots and the small print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rollout.core.evaluation import EvalReport
from rollout.core.verdict import Outcome, Verdict
from rollout.report.evaluation.facts import digests, facts, missing
from rollout.report.evaluation.forest import forests
from rollout.report.evaluation.latency import latencies
from rollout.report.evaluation.lines import (
    WORDS,
    Line,
    lines,
    open_verdicts,
)
from rollout.report.evaluation.markup import Html, joined, tag
from rollout.report.evaluation.pieces import Mark, glyph, scrolling, table
from rollout.report.evaluation.proof import prove

_NAMED = 8
TIMED = "Share of the answers that had come after so long, one request at a time. Dots: P50 and P95."


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
        scrolling(
            table(head, [_metric(each, head[1:]) for each in lines(report)], "Metrics of every side"),
            "Metrics",
        ),
        joined(tag("h3", "Not measured"), tag("ul", *absent, class_="notes")) if absent else None,
        id=mark("metrics", report),
        class_="metrics-section",
    )


def plots(report: EvalReport, mark: Mark, *, timed: str = TIMED) -> Html | None:
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
        tag("div", tag("h3", "Latency"), tag("p", timed, class_="lead"), *times, more) if times else None,
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


def small_print(report: EvalReport, *, several: bool) -> Html:
    """Everything that says what the report is about, with all digests."""
    rows = [term(name, text) for name, text in facts(report) if name != "report"]
    codes = [term(name, text, code=True) for name, text in digests(report)]
    title = f"Details of {report.subject.suite}" if several else "Details"
    return tag(
        "section",
        tag("h2", title),
        tag("dl", *rows, *codes, class_="facts"),
    )


def _reason(report: EvalReport, verdict: Verdict, keys: Mapping[str, tuple[str, int]]) -> Html:
    proof = prove(report, verdict)
    figures = [term(name, text) for name, text in proof.figures]
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


def _metric(line: Line, names: Sequence[str]) -> Html:
    """A row; each cell knows its column, for screens too narrow for a table."""
    verdict = tag("span", class_="glyph") if line.verdict is None else glyph(line.verdict)
    *columns, last = names
    cells = zip(columns, (*line.values, line.change, line.interval, str(line.n)), strict=True)
    return tag(
        "tr",
        tag("th", verdict, line.title, scope="row"),
        *(tag("td", cell, class_="number", data_column=column) for column, cell in cells),
        tag("td", line.allowed, class_="allowed", data_column=last),
        class_="judged" if line.verdict is not None else "told",
    )


def term(name: str, text: str, *, code: bool = False) -> Html:
    """One line of a list of facts."""
    return tag("div", tag("dt", name), tag("dd", tag("code", text) if code else text))
