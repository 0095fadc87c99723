"""An evaluation report for a reviewer with one minute: a pull-request comment in GitHub's Markdown."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import chain
from types import MappingProxyType

from rollout.core.evaluation import EvalReport, Example
from rollout.core.verdict import Outcome, Verdict
from rollout.report.evaluation import (
    WORDS,
    facts,
    failed_slices,
    headline,
    lines,
    open_verdicts,
    opponent,
    slice_table,
    visible,
)

REASONS = 12
_ALERTS: Mapping[Outcome, str] = MappingProxyType(
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
_MOST_LETTERS = 1500


def to_markdown(report: EvalReport) -> str:
    """The comment. Its first line is a hidden mark, by which a later comment finds and replaces it."""
    parts = [
        f"<!-- rollout evaluate: {report.candidate.name} -->",
        _alert(report),
        _reasons(report),
        _metrics(report),
        _slices(report),
        _examples(report),
        _facts(report),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


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


def _alert(report: EvalReport) -> str:
    where = f"against {opponent(report)}, on {report.suite} ({len(report.measured.items)} items)"
    return f"> [!{_ALERTS[report.outcome]}]\n> **{escaped(headline(report))}**, {escaped(where)}."


def _reasons(report: EvalReport) -> str:
    found = open_verdicts(report)
    told = [_reason(each) for each in found[:REASONS]]
    return "\n".join([*told, *([f"- and {len(found) - REASONS} more"] if len(found) > REASONS else [])])


def _reason(verdict: Verdict) -> str:
    sign = _SIGNS[verdict.outcome] if verdict.required else "ℹ️"
    return f"- {sign} **{escaped(verdict.subject)}** {escaped(verdict.reason)}"


def _metrics(report: EvalReport) -> str:
    sides = report.measured.sides
    head = ["metric", *sides, f"change ({2 * report.rules.confidence - 1:.0%} interval)", "allowed", ""]
    rows = [
        [
            each.title,
            *each.values,
            f"{each.change} ({each.interval})" if each.interval else each.change,
            each.allowed,
            f"{_SIGNS[each.verdict]} {WORDS[each.verdict]}" if each.verdict else "",
        ]
        for each in lines(report)
    ]
    return _table([head, *rows], right=range(1, len(sides) + 2))


def _slices(report: EvalReport) -> str:
    head, *rows = slice_table(report)
    failed = failed_slices(report)
    marked = [[*map(escaped, row), _SIGNS[Outcome.FAIL] if row[0] in failed else ""] for row in rows]
    return _table([[*head, ""], *marked], right=range(1, len(head)))


def _examples(report: EvalReport) -> str:
    if not report.examples:
        return ""
    fallen = sum(each.drop > 0 for each in report.examples)
    title = f"{len(report.examples)} answers before and after, worst first ({fallen} of them got worse)"
    shown = "\n\n".join(chain.from_iterable(_example(each) for each in report.examples))
    return f"<details><summary>{title}</summary>\n\n{shown}\n\n</details>"


def _example(example: Example) -> list[str]:
    parts = [f"**{escaped(example.id)}** ({escaped(example.slice)})", fenced(example.messages[-1].content)]
    answers = [("reference", example.reference), *example.answers.items()]
    return [*parts, *chain.from_iterable((f"{name}:", fenced(text)) for name, text in answers)]


def _facts(report: EvalReport) -> str:
    rows = "\n".join(f"- {name}: {_code(value)}" for name, value in facts(report))
    return f"<details><summary>What was measured, and how to do it again</summary>\n\n{rows}\n\n</details>"


def _code(text: str) -> str:
    return f"<code>{escaped(text)}</code>"


def _table(rows: Sequence[Sequence[str]], *, right: range) -> str:
    head, *body = rows
    rule = ["---:" if place in right else "---" for place in range(len(head))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *body))
