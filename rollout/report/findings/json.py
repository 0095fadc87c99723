"""For machines: the document that `schemas/findings.schema.json` describes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import TypedDict

from rollout.core.document import Place, Problem, show_pointer
from rollout.core.finding import Finding
from rollout.core.findingsreport import (
    FINDINGS_SCHEMA,
    Counts,
    FindingsReport,
    ReportedError,
    ReportedFinding,
    ReportedProblem,
    ReportedRule,
)
from rollout.core.validation import Validation
from rollout.errors import RolloutError
from rollout.report.findings.account import exit_status, outcome
from rollout.report.findings.plain import encodable

# Only ever within strings, where an escape means the same.
_MISLEADING = re.compile(r"[^\x20-\x7e\n]|(?<=##)\[")


def as_json(validation: Validation) -> str:
    """The report; its schema is printed by `rollout schema findings`."""
    return dump(build_report(validation).model_dump(mode="json", by_alias=True))


def build_report(validation: Validation) -> FindingsReport:
    """The report as a document."""
    blocking = sum(finding.blocks for finding in validation.findings)
    waived = sum(finding.waived_by is not None for finding in validation.findings)
    counts = Counts(
        problems=len(validation.problems),
        blocking=blocking,
        warnings=len(validation.findings) - blocking - waived,
        waived=waived,
    )
    return FindingsReport(
        schema=FINDINGS_SCHEMA,
        outcome=outcome(validation),
        exit_status=exit_status(validation),
        error=None,
        counts=counts,
        checked=tuple(map(encodable, validation.checked)),
        retired=tuple(map(encodable, validation.retired)),
        rules=tuple(_rules(validation)),
        problems=tuple(map(_problem, validation.problems)),
        findings=tuple(map(_finding, validation.findings)),
    )


def error_as_json(error: RolloutError) -> str:
    """The report of a run that could not be done."""
    report = FindingsReport(
        schema=FINDINGS_SCHEMA,
        outcome="unreadable",
        exit_status=error.exit_status,
        error=ReportedError(
            code=error.code,
            message=encodable(error.message),
            advice=encodable(error.advice),
            runbook=error.code,
        ),
        counts=Counts(problems=0, blocking=0, warnings=0, waived=0),
        checked=(),
        retired=(),
        rules=(),
        problems=(),
        findings=(),
    )
    return dump(report.model_dump(mode="json", by_alias=True))


def dump(data: object) -> str:
    """Indented JSON; a character that cannot be seen, or would begin a runner's command, is an escape."""
    text = json.dumps(data, indent=2, ensure_ascii=False) + "\n"
    return _MISLEADING.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    if character == "[":
        return "\\u005b"
    return character if character.isprintable() else json.dumps(character)[1:-1]


def _rules(validation: Validation) -> Iterator[ReportedRule]:
    for rule in validation.rulebook:
        yield ReportedRule(
            id=rule.id,
            title=rule.title,
            severity=rule.severity,
            checked=rule.id not in validation.unchecked,
            docs=rule.anchor,
        )


def _problem(problem: Problem) -> ReportedProblem:
    return ReportedProblem(
        file=encodable(problem.source),
        **_positions(problem.place, problem.end),
        pointer=show_pointer(problem.pointer),
        message=problem.message,
        found=problem.found,
    )


def _finding(finding: Finding) -> ReportedFinding:
    return ReportedFinding(
        rule=encodable(finding.rule),
        severity=finding.severity,
        blocks=finding.blocks,
        waived_by=finding.waived_by,
        waiver_reason=None if finding.waiver_reason is None else encodable(finding.waiver_reason),
        waiver_expires=finding.waiver_expires,
        can_be_waived=finding.can_be_waived,
        message=encodable(finding.message),
        remediation=encodable(finding.remediation),
        file=encodable(finding.file),
        **_positions(finding.place, finding.end),
        pointer=finding.pointer,
    )


class _Positions(TypedDict):
    line: int
    column: int
    end_line: int | None
    end_column: int | None


def _positions(place: Place, end: Place | None) -> _Positions:
    return {
        "line": place.line,
        "column": place.column,
        "end_line": end.line if end else None,
        "end_column": end.column if end else None,
    }
