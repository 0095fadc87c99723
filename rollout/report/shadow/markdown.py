"""A comparison over traffic for a reviewer with one minute: a pull-request comment in GitHub's Markdown."""

from __future__ import annotations

from itertools import chain

from rollout.core.evaluation import Case, Side
from rollout.core.shadow.document import ShadowReport
from rollout.core.worst import worst_first
from rollout.report.evaluation.facts import Fact
from rollout.report.evaluation.markdown import (
    ALERTS,
    EXAMPLES,
    MAX_BYTES,
    clipped,
    code,
    cut,
    escaped,
    fenced,
    fitting,
    metrics,
    reasons,
    size,
    table,
)
from rollout.report.shadow.lines import account, drawn, failure_table, headline, small_facts, where

_FOLD = 300


def to_markdown(report: ShadowReport) -> str:
    """The comment, in at most MAX_BYTES: what does not fit is left out, answers first.

    Its first line is a hidden mark, by which a later comment finds and replaces it.
    """
    view = drawn(report)
    alert = f"> [!{ALERTS[report.outcome]}]\n> **{escaped(headline(report))}**, {escaped(where(report))}."
    head = [
        f"<!-- rollout shadow: {report.subject.name} -->",
        alert,
        _facts(account(report)),
        reasons(view),
        metrics(view),
        _failures(report),
    ]
    facts = _facts(small_facts(report))
    tail = f"<details><summary>By which rules, and how to do it again</summary>\n\n{facts}\n\n</details>"
    examples = _examples(report, MAX_BYTES - size([*head, tail]))
    return cut("\n\n".join(part for part in (*head, examples, tail) if part) + "\n")


def _facts(rows: list[Fact]) -> str:
    return "\n".join(f"- {name}: {code(clipped(text, 1000))}" for name, text in rows)


def _failures(report: ShadowReport) -> str:
    rows = failure_table(report)
    return table([[escaped(cell) for cell in row] for row in rows], right=range(1, 4)) if rows else ""


def _examples(report: ShadowReport, room: int) -> str:
    opponent = report.subject.opponent
    told = [case for case in worst_first(report.measured) if case.replies]
    moved = [case for case in told if case.text(opponent) != case.text(Side.CANDIDATE)]
    shown = list(fitting((_example(report, case) for case in moved[:EXAMPLES]), room - _FOLD))
    if not shown:
        return ""
    title = f"{len(shown)} of {len(moved)} answers that differ, worst first"
    body = "\n\n".join(shown)
    return f"<details><summary>{title}</summary>\n\n{body}\n\n</details>"


def _example(report: ShadowReport, case: Case) -> str:
    rows = [("prompt", case.messages[-1].content)] if case.messages else []
    rows += [
        ("stable", case.text(report.subject.opponent)),
        ("candidate", case.text(Side.CANDIDATE)),
    ]
    told = chain.from_iterable((f"{name}:", fenced(text)) for name, text in rows)
    return "\n\n".join([f"**{escaped(case.id)}** ({escaped(case.slice)})", *told])
