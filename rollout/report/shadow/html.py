"""A comparison over traffic as one self-contained page, drawn as an evaluation is."""

from __future__ import annotations

from rollout.core.evaluation import Evaluation
from rollout.core.shadow.document import ShadowReport
from rollout.report.evaluation.facts import Fact
from rollout.report.evaluation.html import Frame
from rollout.report.evaluation.html import to_html as draw
from rollout.report.evaluation.markup import Html, joined, tag
from rollout.report.evaluation.pieces import scrolling, table
from rollout.report.evaluation.sections import term
from rollout.report.shadow.lines import account, drawn, failure_table, small_facts, where

_TIMED = (
    "Share of the answers that had come after so long, of pairs with two good answers. Dots: P50 and P95."
)
_TIMED_COPIES = f"{_TIMED} Copies are not streamed, and begin when their original has ended."


def to_html(report: ShadowReport) -> str:
    """The page. It holds at most so many cases, worst first, and says how many it leaves out."""
    candidate = report.subject.candidate
    frame = Frame(
        kicker=f"{candidate.name} {candidate.version}, shadowed {report.finished_at:%-d %B %Y}",
        where=where(report),
        timed=_TIMED_COPIES if report.traffic.replayed is None else _TIMED,
        more=joined(_facts("What was compared", account(report)), _failures(report)),
        details=_facts("Details", small_facts(report)),
    )
    return draw(Evaluation(reports=(drawn(report),)), frame)


def _facts(title: str, rows: list[Fact]) -> Html:
    terms = [term(name, text) for name, text in rows]
    return tag("section", tag("h2", title), tag("dl", *terms, class_="facts"))


def _failures(report: ShadowReport) -> Html | None:
    rows = failure_table(report)
    if not rows:
        return None
    head, *body = rows
    lines = [
        tag(
            "tr",
            tag("th", first, scope="row"),
            *(
                tag("td", cell, class_="number", data_column=name)
                for cell, name in zip(rest, head[1:], strict=True)
            ),
        )
        for first, *rest in body
    ]
    shown = scrolling(table(head, lines, "How requests failed"), "How requests failed")
    return tag("section", tag("h2", "How requests failed"), shown, class_="metrics-section")
