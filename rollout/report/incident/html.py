"""The record as one self-contained page: no network, no script at all, and nothing that others wrote is obeyed."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Sequence
from importlib.resources import files

from rollout.report.evaluation.markup import Html, tag
from rollout.report.evaluation.pieces import scrolling, table
from rollout.report.incident.drawing import draw
from rollout.report.incident.series import axis, plots
from rollout.report.incident.timeline import Line, timeline
from rollout.report.incident.words import (
    QUESTIONS,
    Done,
    Row,
    fact_rows,
    gap_lines,
    impact_rows,
    moment,
    open_items,
    summary,
    time_rows,
    title,
    tried,
)
from rollout.usecases.incident import Found, IncidentRecord

_SIGNS = {True: "✓", False: "✕", None: "–"}
_WORDS = {True: "worked", False: "open", None: "not known"}
_STANDING = {True: "pass", False: "fail", None: "no_data"}
_OUTCOMES = {"pass": "✓", "inconclusive": "?", "no_data": "–", "error": "!", "fail": "✕"}


def to_html(record: IncidentRecord) -> str:
    """The page."""
    style = Html(_style())
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_policy(style)),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", title(record)),
        tag("style", style),
    )
    return f"<!doctype html>\n{tag('html', head, tag('body', _page(record)), lang='en')}\n"


def _style() -> str:
    """Our own files, which are to be read as style and not as text."""
    shared = files("rollout.report.evaluation").joinpath("page.css").read_text(encoding="utf-8")
    return shared + files(__package__).joinpath("page.css").read_text(encoding="utf-8")


def _policy(style: str) -> str:
    digest = b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def _page(record: IncidentRecord) -> Html:
    sections = [
        _summary(record),
        _figures("times", "Times", time_rows(record)),
        _figures("impact", "Impact", impact_rows(record)),
        _plots(record),
        _tried(tried(record)),
        _judged(record.found),
        _timeline(timeline(record)),
        _review(),
    ]
    names = [("times", "Times"), ("impact", "Impact"), ("plots", "Over time"), ("tried", "What was tried")]
    names += [("judged", "Judge"), ("timeline", "Timeline"), ("review", "Review"), ("facts", "Facts")]
    shown = [each for each in sections if each is not None]
    footer = tag("footer", _facts(fact_rows(record)), _gaps(gap_lines(record)), id="facts")
    there = [(id_, name) for id_, name in names if any(f' id="{id_}"' in each for each in (*shown, footer))]
    event = record.incident.event
    kicker = f"Incident {record.incident.number} of {record.of} of {record.name}, {moment(record.times.decided_at)}"
    return tag(
        "div",
        tag(
            "header",
            tag("p", kicker, class_="kicker"),
            tag("h1", _glyph(not open_items(record)), tag("span", title(record))),
            tag("p", f"{event.reason}", class_="where", dir="auto"),
            tag("nav", *(tag("a", name, href=f"#{id_}") for id_, name in there), aria_label="Sections"),
        ),
        tag("main", *shown),
        footer,
        class_="page incident",
    )


def _summary(record: IncidentRecord) -> Html:
    items = [tag("li", line, dir="auto") for line in summary(record)]
    still = [tag("li", _glyph(False), tag("span", item, dir="auto")) for item in open_items(record)]
    return tag(
        "section",
        tag("ol", *items, class_="summary"),
        tag("ul", *still, class_="open", aria_label="Open") if still else None,
    )


def _figures(id_: str, name: str, rows: Sequence[Row]) -> Html:
    cards = [
        tag(
            "div",
            tag("dt", row.name),
            tag("dd", row.value, class_="value" if row.known else "value none"),
            tag("dd", row.note, class_="note") if row.note else None,
        )
        for row in rows
    ]
    return tag("section", tag("h2", name), tag("dl", *cards, class_="cards"), id=id_)


def _plots(record: IncidentRecord) -> Html | None:
    found, over = plots(record), axis(record)
    if not found:
        return None
    return tag(
        "section",
        tag("h2", "Over time"),
        tag("p", "Times are UTC.", class_="lead"),
        tag("div", *(draw(plot, over) for plot in found), class_="figures"),
        id="plots",
    )


def _tried(found: Sequence[Done]) -> Html:
    items = [
        tag(
            "li",
            tag(
                "span",
                _SIGNS[each.worked],
                class_=f"glyph {_STANDING[each.worked]}",
                role="img",
                aria_label=_WORDS[each.worked],
            ),
            tag("strong", each.what),
            tag("span", each.told, dir="auto"),
        )
        for each in found
    ]
    return tag("section", tag("h2", "What was tried"), tag("ol", *items, class_="notes done"), id="tried")


def _judged(found: Sequence[Found]) -> Html | None:
    if not found:
        return None
    items = [
        tag(
            "li",
            tag(
                "span",
                _OUTCOMES[each.outcome],
                class_=f"glyph {each.outcome}",
                role="img",
                aria_label=each.outcome,
            ),
            tag("strong", each.subject),
            tag(
                "span",
                f"{each.reason} (samples: stable {each.samples[0]:,}, taken back {each.samples[1]:,})",
                dir="auto",
            ),
        )
        for each in found
    ]
    lead = tag("p", "At the last look that failed, or the last one.", class_="lead")
    return tag(
        "section", tag("h2", "What the judge saw"), lead, tag("ul", *items, class_="notes done"), id="judged"
    )


def _timeline(lines: Sequence[Line]) -> Html:
    rows = [
        tag(
            "tr",
            tag("th", line.when, scope="row"),
            tag("td", tag("span", str(line.source), class_="source")),
            tag("td", line.told, class_="what-happened", dir="auto"),
            tag("td", line.who, class_="who", dir="auto"),
            class_=line.mark or None,
        )
        for line in lines
    ]
    head = ("When (UTC)", "Source", "What", "Who")
    shown = scrolling(table(head, rows, "Timeline", "timeline"), "Timeline")
    return tag("section", tag("h2", "Timeline"), shown, id="timeline")


def _review() -> Html:
    lead = tag("p", "Left for people: nothing here is known to a machine.", class_="lead")
    items = [
        tag("div", tag("h3", question), tag("p", class_="blank"), class_="question") for question in QUESTIONS
    ]
    return tag("section", tag("h2", "For the review"), lead, *items, id="review")


def _facts(rows: Sequence[Row]) -> Html:
    terms = [tag("div", tag("dt", row.name), tag("dd", row.value, dir="auto")) for row in rows]
    return tag("section", tag("h2", "Facts"), tag("dl", *terms, class_="facts"))


def _gaps(lines: Sequence[str]) -> Html | None:
    if not lines:
        return None
    return tag(
        "section",
        tag("h2", "What is not known"),
        tag("ul", *(tag("li", each) for each in lines), class_="gaps"),
    )


def _glyph(good: bool) -> Html:
    word = "nothing is open" if good else "open"
    return tag(
        "span",
        "✓" if good else "!",
        class_=f"glyph {'pass' if good else 'fail'}",
        role="img",
        aria_label=word,
    )
