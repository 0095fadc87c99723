"""An evaluation as one self-contained page: no network, no script but its own, every answer shown and none obeyed."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from dataclasses import dataclass
from importlib.resources import files

from rollout.core.evaluation import EvalReport, Evaluation
from rollout.report.evaluation.cases import Embedded, checks, embed
from rollout.report.evaluation.heat import heat
from rollout.report.evaluation.lines import extent, headline, opponent, tally, worst_suites
from rollout.report.evaluation.markup import Html, joined, tag
from rollout.report.evaluation.pieces import Mark, glyph
from rollout.report.evaluation.sections import metrics, plots, reasons, small_print
from rollout.report.evaluation.several import adapters, told_apart, who

_CHANGES = {
    "lost": "right before, or better",
    "wrong": "wrong, as before",
    "changed": "as right, in other words",
    "gained": "better than before",
    "same": "letter by letter the same",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What a page says of itself, where that is not an evaluation: its line above, what was compared, how long answers
    took, and the sections before and behind the cases."""

    kicker: str
    where: str
    timed: str
    more: Html
    details: Html


def to_html(evaluation: Evaluation, frame: Frame | None = None) -> str:
    """The page. It holds at most `cases.MOST_CASES` cases, worst first, and says how many it leaves out."""
    evaluation = told_apart(evaluation)
    style, script = _resource("page.css"), _resource("page.js")
    embedded = embed(evaluation)
    title = headline(evaluation)
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_policy(style, script)),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", title),
        tag("style", style),
    )
    data = tag("script", Html(embedded.data), type="application/json", id="data")
    body = tag("body", _page(evaluation, embedded, frame), data, tag("script", script))
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _policy(style: str, script: str) -> str:
    """Nothing is fetched and nothing runs but the two that stand here."""
    return (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _resource(name: str) -> Html:
    # Our own file, which is to be read as style or script and not as text.
    return Html(files(__package__).joinpath(name).read_text(encoding="utf-8"))


def _page(evaluation: Evaluation, embedded: Embedded, frame: Frame | None) -> Html:
    reports = worst_suites(evaluation)
    several = len(reports) > 1
    suites = [_suite(report, several=several, frame=frame) for report in reports]
    main = tag("main", *suites, _cases(evaluation, embedded))
    details = (
        [small_print(report, several=several) for report in reports] if frame is None else [frame.details]
    )
    return tag(
        "div",
        tag("a", "Skip to the cases", href="#cases", class_="skip"),
        _head(evaluation, reports, main, frame),
        main,
        tag("footer", *details, id="details"),
        class_="page",
    )


def _head(evaluation: Evaluation, reports: list[EvalReport], main: Html, frame: Frame | None) -> Html:
    first = reports[0]
    several = adapters(evaluation)
    what = f"{len(several)} adapters" if len(several) > 1 else who(first)
    kicker = f"{what}, evaluated {first.finished_at:%-d %B %Y}"
    where = None if len(reports) > 1 else f"against {opponent(first)}, on {extent(first)}"
    if frame is not None:
        kicker, where = frame.kicker, frame.where
    return tag(
        "header",
        tag("p", kicker, class_="kicker"),
        tag("h1", glyph(evaluation.outcome), tag("span", headline(evaluation))),
        tag("p", where, class_="where") if where else None,
        tag("nav", *_links(reports, main), aria_label="Sections"),
    )


def _links(reports: list[EvalReport], main: Html) -> list[Html]:
    """A link to every section that there is."""
    names = [("reasons", "Reasons"), ("metrics", "Metrics"), ("plots", "Plots"), ("slices", "Slices")]
    if len(reports) > 1:
        names = [(_named_suite(report), report.subject.suite) for report in reports]
    there = [(name, label) for name, label in [*names, ("cases", "Cases")] if f' id="{name}"' in main]
    return [tag("a", label, href=f"#{name}") for name, label in [*there, ("details", "Details")]]


def _named_suite(report: EvalReport) -> str:
    return f"suite-{report.subject.suite}"


def _mark(section: str, report: EvalReport) -> str:
    return f"{_named_suite(report)}-{section}"


def _suite(report: EvalReport, *, several: bool, frame: Frame | None) -> Html:
    title = joined(
        tag(
            "h2",
            glyph(report.outcome),
            tag("span", f"{report.subject.suite}: {tally(report)}"),
            class_="suite-title",
        ),
        tag("p", f"Against {opponent(report)}, on {extent(report)}.", class_="where"),
    )
    keys = {check.label: (check.key, len(check.ids)) for check in checks(report)}
    mark: Mark = _mark if several else lambda section, _: section
    drawn = plots(report, mark) if frame is None else plots(report, mark, timed=frame.timed)
    more = heat(report, mark) if frame is None else frame.more
    parts = [reasons(report, keys, mark), metrics(report, mark), drawn, more]
    return tag("section", title if several else None, *parts, class_="suite", id=_named_suite(report))


def _cases(evaluation: Evaluation, embedded: Embedded) -> Html:
    left = (
        f" {embedded.left_out} cases are not in this page: see the report as JSON."
        if embedded.left_out
        else ""
    )
    return tag(
        "section",
        tag("h2", "Cases"),
        tag("p", f"Worst first. Open one to compare the answers word by word.{left}", class_="lead"),
        tag("noscript", tag("p", "The cases need JavaScript; everything above does not.")),
        _filters(evaluation),
        tag("p", role="status", aria_live="polite", class_="count", id="count"),
        tag("ol", id="list", class_="cases"),
        tag("button", "Show more", type="button", id="more", class_="button", hidden=True),
        id="cases",
        tabindex="-1",
    )


def _filters(evaluation: Evaluation) -> Html:
    suites = sorted(report.subject.suite for report in evaluation.reports)
    choices = [
        tag(
            "button",
            name,
            tag("span", class_="n"),
            type="button",
            data_change=value,
            title=hint,
            aria_pressed="false",
        )
        for value, name, hint in [
            ("", "all", "every case"),
            *((key, key, hint) for key, hint in _CHANGES.items()),
        ]
    ]
    return tag(
        "div",
        tag("div", *choices, role="group", aria_label="What became of the case", class_="chips"),
        tag(
            "div",
            _select("suite", "Suite", suites) if len(suites) > 1 else None,
            _select("slice", "Slice", []),
            tag(
                "label",
                tag("span", "Search", class_="label"),
                tag(
                    "input", type="search", id="search", placeholder="words, ids, answers", autocomplete="off"
                ),
            ),
            class_="fields",
        ),
        tag("p", id="check", class_="check", hidden=True),
        class_="filters",
        role="search",
        aria_label="Filter the cases",
    )


def _select(id_: str, label: str, options: list[str]) -> Html:
    every = tag("option", "all", value="")
    return tag(
        "label",
        tag("span", label, class_="label"),
        tag("select", every, *(tag("option", name, value=name) for name in options), id=id_),
    )
