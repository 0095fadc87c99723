"""Small things that all sections of the page use."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rollout.core.evaluation import EvalReport
from rollout.core.verdict import Outcome
from rollout.report.evaluation.lines import WORDS
from rollout.report.evaluation.markup import Html, tag

_GLYPHS = {
    Outcome.PASS: "✓",
    Outcome.INCONCLUSIVE: "?",
    Outcome.NO_DATA: "–",
    Outcome.ERROR: "!",
    Outcome.FAIL: "✕",
}
Mark = Callable[[str, EvalReport], str]
"""Names a section of a report, so that no two of the page have the same name."""


def glyph(outcome: Outcome) -> Html:
    """The outcome as a sign that does not need its colour."""
    return tag("span", _GLYPHS[outcome], class_=f"glyph {outcome}", role="img", aria_label=WORDS[outcome])


def table(head: Sequence[str], rows: Sequence[Html], caption: str, class_: str | None = None) -> Html:
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


def scrolling(content: Html, name: str) -> Html:
    """Wide tables scroll by themselves, also by keyboard."""
    return tag("div", content, class_="scrolling", role="region", aria_label=name, tabindex="0")
