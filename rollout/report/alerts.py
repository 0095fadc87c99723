"""What became of alerts -> a table, JSON or Markdown, an exit status, and the status of an HTTP answer."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import click

from rollout.core.alert import AlertBody, Fate
from rollout.report import rollbacks, untold
from rollout.report.findings.plain import harmless, visible, width
from rollout.report.verdicts import cell
from rollout.usecases.alerted import Answer
from rollout.usecases.rollback import PhaseDone

_HEAD = ("alert", "adapter", "version", "becomes", "why")


def exit_status(answers: Sequence[Answer]) -> int:
    """The gravest: 0 done or nothing to do, 1 turned down, 4 a phase must be repeated, or why nothing was decided."""
    return untold.gravest({_status(answer) for answer in answers})


def http_status(answers: Sequence[Answer]) -> int:
    """200 once no sending again would change anything; 503 where it would, 500 for a bug."""
    if any(answer.error is not None and answer.error.exit_status == 70 for answer in answers):
        return 500
    return 503 if any(answer.open for answer in answers) else 200


def phase_line(adapter: str, phase: PhaseDone) -> str:
    """A phase of one rollback among several."""
    return f"{adapter}{rollbacks.phase_line(phase)}"


def render(body: AlertBody, answers: Sequence[Answer], form: str, *, dry_run: bool = False) -> str:
    """All of them in one of the forms `text` (without the phases, which were shown live), `json`, `markdown`."""
    if form == "json":
        return json.dumps(as_data(body, answers, dry_run=dry_run), indent=2) + "\n"
    rows = [_row(answer, dry_run=dry_run) for answer in answers]
    lines = _markdown(rows) if form == "markdown" else _table(rows)
    if body.truncated:
        lines.append(
            f"{body.truncated} more were cut off by whoever sent them (`max_alerts`): nothing is known of them"
        )
    if not answers:
        lines = ["the body holds no alert"]
    for answer in answers:
        if answer.report is not None:
            told = rollbacks.render(answer.report, form).rstrip("\n")
            lines += ["", told] if form == "markdown" else [f"{answer.adapter}: {told}"]
    if dry_run:
        lines.append("dry run: nothing was changed")
    return "\n".join(lines) + "\n"


def as_data(body: AlertBody, answers: Sequence[Answer], *, dry_run: bool = False) -> dict[str, Any]:
    """Plain data for JSON."""
    return {
        "schema": "adapter-rollout/alerted/v1",
        "dry_run": dry_run,
        "truncated": body.truncated,
        "alerts": [
            {
                "alert": answer.alert.name,
                "fingerprint": answer.alert.fingerprint,
                "began": answer.alert.starts_at.isoformat(),
                "adapter": answer.adapter,
                "version": answer.about,
                "fate": str(answer.ruling.fate) if answer.ruling is not None else None,
                "why": _why(answer),
                "code": answer.error.code if answer.error is not None else None,
                "rollback": rollbacks.as_data(answer.report) if answer.report is not None else None,
            }
            for answer in answers
        ],
        "exit_status": exit_status(answers),
    }


def as_log(body: AlertBody, answers: Sequence[Answer]) -> Iterator[str]:
    """A line for the body and one for each alert, for a log."""
    yield f"body of {len(answers)} alerts, {body.truncated} cut off, for {body.receiver}, group {body.group_key}"
    for answer in answers:
        _, adapter, version, becomes, why = _row(answer, dry_run=False)
        yield f"{answer.alert.name} {answer.alert.fingerprint}: {adapter} {version}: {becomes}: {why}"


def _status(answer: Answer) -> int:
    if answer.error is not None:
        return answer.error.exit_status
    if answer.report is not None:
        return rollbacks.exit_status(answer.report)
    return int(answer.ruling is not None and answer.ruling.fate is Fate.TURNED_DOWN)


def _row(answer: Answer, *, dry_run: bool) -> tuple[str, ...]:
    about = tuple(visible(each) if each else "–" for each in (answer.adapter, answer.about))
    return harmless(answer.alert.name), *about, _becomes(answer, dry_run=dry_run), _why(answer)


def _becomes(answer: Answer, *, dry_run: bool) -> str:
    if answer.ruling is None:
        return "failed"
    if answer.report is not None:
        return "taken back" if answer.report.complete else "not complete"
    return f"would: {answer.ruling.fate}" if dry_run and answer.ruling.acts else str(answer.ruling.fate)


def _why(answer: Answer) -> str:
    if answer.error is not None:
        return visible(f"{answer.error.message}. {answer.error.advice}".strip())
    assert answer.ruling is not None
    why = answer.ruling.why
    if answer.report is not None and not answer.report.complete:
        open_ = [f"{phase.phase}: {phase.detail}" for phase in answer.report.phases if not phase.ok]
        why = f"{why}; open: {'; '.join(open_)}"
    return visible(why)


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    every = [_HEAD, *rows]
    widths = [max(width(row[column]) for row in every) for column in range(len(_HEAD) - 1)]
    lines = [
        "  ".join(
            [*(each + " " * (wide - width(each)) for each, wide in zip(row, widths, strict=False)), row[-1]]
        )
        for row in every
    ]
    return [click.style(lines[0], bold=True), *lines[1:]]


def _markdown(rows: Sequence[tuple[str, ...]]) -> list[str]:
    return [
        f"| {' | '.join(_HEAD)} |",
        "|---|---|---|---|---|",
        *(f"| {' | '.join(map(cell, row))} |" for row in rows),
    ]
