"""An evaluation for a reviewer with one minute: a pull-request comment in GitHub's Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from types import MappingProxyType

from rollout.core.evaluation import Case, EvalReport, Evaluation
from rollout.core.verdict import Outcome, Verdict
from rollout.core.worst import Change, change, worst_first
from rollout.report.evaluation.facts import facts
from rollout.report.evaluation.lines import (
    WORDS,
    extent,
    failed_slices,
    headline,
    lines,
    open_verdicts,
    opponent,
    slice_table,
    tally,
    worst_suites,
)
from rollout.report.evaluation.plain import visible
from rollout.report.evaluation.proof import prove
from rollout.report.evaluation.several import told_apart

MAX_BYTES = 65_000
"""A comment on GitHub holds 65,536 characters; in bytes it fits however they are counted."""
REASONS = 12
EXAMPLES = 10
_ROWS = 30
_CASES = 5
_MOST_LETTERS = 1500
ALERTS: Mapping[Outcome, str] = MappingProxyType(
    {
        Outcome.PASS: "TIP",
        Outcome.INCONCLUSIVE: "WARNING",
        Outcome.NO_DATA: "WARNING",
        Outcome.ERROR: "CAUTION",
        Outcome.FAIL: "CAUTION",
    }
)
_SIGNS: Mapping[Outcome | None, str] = MappingProxyType(
    {
        Outcome.PASS: "✅",
        Outcome.INCONCLUSIVE: "⚠️",
        Outcome.NO_DATA: "⚠️",
        Outcome.ERROR: "❌",
        Outcome.FAIL: "❌",
        None: "",
    }
)
# Everything that means something in Markdown, HTML or to GitHub (mentions, references, autolinks).
_SPECIAL = re.compile(r"[\\`*_{}\[\]<>#|~@&$]|:(?=\S)|(?<=www)\.", re.IGNORECASE)


def to_markdown(evaluation: Evaluation) -> str:
    """The comment, in at most MAX_BYTES: what does not fit is counted, cases first.

    Its first line is a hidden mark, by which a later comment finds and replaces it.
    """
    evaluation = told_apart(evaluation)
    reports = worst_suites(evaluation)
    head = [f"<!-- rollout evaluate: {evaluation.reports[0].subject.candidate.name} -->", _alert(evaluation)]
    bodies = [_body(report, several=len(reports) > 1) for report in reports]
    tails = [_facts(report) for report in reports]
    room = MAX_BYTES - size(chain(head, *bodies, tails))
    parts: list[str] = [*head]
    for report, body, tail in zip(reports, bodies, tails, strict=True):
        examples = _examples(report, max(0, room) // len(reports))
        parts += [*body, *([examples] if examples else []), tail]
    return cut("\n\n".join(part for part in parts if part) + "\n")


def escaped(text: str) -> str:
    """Any text as one line of Markdown that shows it and does nothing else."""
    return _SPECIAL.sub(lambda found: f"&#{ord(found[0])};", visible(" ".join(text.split())))


def fenced(text: str) -> str:
    """Any text as a code block; the fence is longer than any run of backticks in it."""
    text = visible(text)
    text = text if len(text) <= _MOST_LETTERS else text[:_MOST_LETTERS] + "…"
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text.rstrip() or '(empty)'}\n{fence}"


def _alert(evaluation: Evaluation) -> str:
    told = [f"**{escaped(headline(evaluation))}**"]
    if len(evaluation.reports) == 1:
        told.append(escaped(f"against {opponent(evaluation.reports[0])}, on {extent(evaluation.reports[0])}"))
    return f"> [!{ALERTS[evaluation.outcome]}]\n> {', '.join(told)}."


def _body(report: EvalReport, *, several: bool) -> list[str]:
    title = f"### {_SIGNS[report.outcome]} {escaped(report.subject.suite)}: {escaped(tally(report))}"
    where = escaped(f"Against {opponent(report)}, on {extent(report)}.")
    parts = [
        *([f"{title}\n\n{where}"] if several else []),
        reasons(report),
        metrics(report),
        _slices(report),
    ]
    return [part for part in parts if part]


def reasons(report: EvalReport) -> str:
    """Every verdict that is no pass, with its figures, and how to do it again."""
    found = open_verdicts(report)
    told = [_reason(report, each) for each in found[:REASONS]]
    more = [f"- and {len(found) - REASONS} more"] if len(found) > REASONS else []
    again = [f"\nReproduce with {code(report.command)}"] if found else []
    return "\n".join([*told, *more, *again])


def _reason(report: EvalReport, verdict: Verdict) -> str:
    sign = _SIGNS[verdict.outcome] if verdict.required else "ℹ️"
    proof = prove(report, verdict)
    first = f"- {sign} **{escaped(verdict.subject)}** {escaped(clipped(proof.reason, 600))}"
    figures = [f"{name} {text}" for name, text in proof.figures]
    figures += [f"cases {proof.named(_CASES)}"] if proof.cases else []
    return f"{first}<br>{escaped(' · '.join(figures))}" if figures and verdict.required else first


def metrics(report: EvalReport) -> str:
    """The metric table; empty if nothing was measured."""
    if not report.metrics:
        return ""
    sides = report.measured.sides
    sure = f"change ({2 * report.subject.rules.confidence - 1:.0%} interval)"
    head = ["metric", *sides, sure, "n", "allowed", ""]
    rows = [
        [
            escaped(each.title),
            *each.values,
            f"{each.change} ({each.interval})" if each.interval else each.change,
            str(each.n),
            each.allowed,
            f"{_SIGNS[each.verdict]} {WORDS[each.verdict]}" if each.verdict else "",
        ]
        for each in lines(report)
    ]
    return table([head, *rows], right=range(1, len(sides) + 3))


def _slices(report: EvalReport) -> str:
    if not (found := slice_table(report)):
        return ""
    head, *rows = found
    failed = failed_slices(report)
    marked = [
        [*map(escaped, (clipped(row[0], 80), *row[1:])), _SIGNS[Outcome.FAIL] if row[0] in failed else ""]
        for row in rows[:_ROWS]
    ]
    more = f"\n\nand {len(rows) - _ROWS} slices more" if len(rows) > _ROWS else ""
    return table([[*head, ""], *marked], right=range(1, len(head))) + more


def _examples(report: EvalReport, room: int) -> str:
    """The worst cases that there is room for, folded."""
    measured, opponent_ = report.measured, report.measured.opponent
    found = [case for case in worst_first(measured) if case.messages]
    found = [case for case in found if change(case, opponent_) is not Change.SAME]
    shown = list(fitting((_example(report, case) for case in found[:EXAMPLES]), room - 300))
    if not shown:
        return f"{len(found)} cases changed or are wrong; there is no room to show them" if found else ""
    left = len(found) - len(shown)
    title = f"{len(shown)} cases before and after, worst first" + (f" ({left} more left out)" if left else "")
    body = "\n\n".join(shown)
    return f"<details><summary>{title}</summary>\n\n{body}\n\n</details>"


def _example(report: EvalReport, case: Case) -> str:
    measured = report.measured
    became = change(case, measured.opponent)
    rows = [("prompt", case.messages[-1].content), ("expected", case.reference)]
    rows += [(side.value, case.text(side)) for side in measured.sides]
    told = chain.from_iterable(
        (f"{name}:", fenced(text)) for name, text in rows if text or name != "expected"
    )
    return "\n\n".join([f"**{escaped(case.id)}** ({escaped(case.slice)}, {became})", *told])


def _facts(report: EvalReport) -> str:
    rows = "\n".join(f"- {name}: {code(clipped(text, 1000))}" for name, text in facts(report))
    return f"<details><summary>What was measured, and how to do it again</summary>\n\n{rows}\n\n</details>"


def fitting(parts: Iterator[str], room: int) -> Iterator[str]:
    """As many of the parts as so many bytes hold."""
    for part in parts:
        room -= size([part])
        if room < 0:
            return
        yield part


def cut(text: str) -> str:
    """The last resort, where even what is never left out is too long."""
    content = text.encode()
    if len(content) <= MAX_BYTES:
        return text
    kept = content[: MAX_BYTES - 100].decode(errors="ignore").rpartition("\n")[0]
    return f"{kept}\n\n…\n\nThe rest does not fit into a comment: see the whole report.\n"


def size(parts: Iterator[str] | Sequence[str]) -> int:
    """Bytes of the parts, each with a blank line behind it."""
    return sum(len(part.encode()) + 2 for part in parts)


def clipped(text: str, most: int) -> str:
    """A text of so many letters at most."""
    return text if len(text) <= most else text[: most - 1] + "…"


def code(text: str) -> str:
    """Any text as code."""
    return f"<code>{escaped(text)}</code>"


def table(rows: Sequence[Sequence[str]], *, right: range) -> str:
    """A table; columns in `right` end together."""
    head, *body = rows
    rule = ["---:" if place in right else "---" for place in range(len(head))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *body))
