"""What validation found, as text for a terminal, as JSON for machines, as Markdown for a pull request."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict

from rollout.core.document import Problem, show_pointer
from rollout.core.finding import Finding, Severity
from rollout.core.validation import Validation

SCHEMA = "adapter-rollout/findings/v1"


def outcome(validation: Validation) -> str:
    """`unreadable`, `blocked` or `pass`, the worst first."""
    if validation.problems:
        return "unreadable"
    return "blocked" if validation.blocked else "pass"


def summary(validation: Validation) -> str:
    """One line: how many were checked against how many rules, and what came of it."""
    blocking = sum(finding.blocks for finding in validation.findings)
    waived = sum(finding.waived_by is not None for finding in validation.findings)
    warnings = len(validation.findings) - blocking - waived
    counts = (
        (len(validation.problems), "problem", "problems"),
        (blocking, "blocking finding", "blocking findings"),
        (warnings, "warning", "warnings"),
        (waived, "waived", "waived"),
    )
    found = ", ".join(f"{count} {one if count == 1 else many}" for count, one, many in counts if count)
    manifests = f"{len(validation.checked)} manifest{'' if len(validation.checked) == 1 else 's'}"
    return f"{manifests}, {len(validation.rulebook)} rules: {found or 'nothing found'}"


def as_text(validation: Validation) -> str:
    """For a terminal: one block a finding, with the line and a caret below its column."""
    blocks = [*map(_problem_text, validation.problems), *map(_finding_text, validation.findings)]
    notes = [f"note: {note}" for note in _notes(validation)]
    return "\n".join([*(block + "\n" for block in blocks), *notes, summary(validation)]) + "\n"


def _problem_text(problem: Problem) -> str:
    return f"error: {problem}"


def _finding_text(finding: Finding) -> str:
    at = f"{finding.file}:{finding.place.line}:{finding.place.column}"
    lines = [f"{at}: {_label(finding)}[{finding.rule}]: {finding.message}", *_excerpt(finding)]
    if finding.waived_by:
        lines.append(f"  = waived by {finding.waived_by}")
    else:
        lines.append(f"  = help: {finding.remediation}")
    return "\n".join(lines)


def _label(finding: Finding) -> str:
    if finding.waived_by:
        return "waived"
    return "error" if finding.severity is Severity.BLOCK else "warning"


def _excerpt(finding: Finding) -> list[str]:
    if not finding.source_line.strip():
        return []
    number = str(finding.place.line)
    return [
        f"  {number} | {finding.source_line}",
        f"  {' ' * len(number)} | {' ' * (finding.place.column - 1)}^",
    ]


def _notes(validation: Validation) -> Iterator[str]:
    if validation.unchecked:
        yield f"without --base these rules were not checked: {', '.join(validation.unchecked)}"
    for path in validation.retired:
        yield f"{path} is gone: its adapter is retired"
    if not validation.checked:
        yield "no manifest differs from the base"


def as_json(validation: Validation) -> str:
    """For machines; see SCHEMA for its name."""
    document = {
        "schema": SCHEMA,
        "outcome": outcome(validation),
        "checked": list(validation.checked),
        "rules": len(validation.rulebook),
        "retired": list(validation.retired),
        "unchecked_rules": list(validation.unchecked),
        "problems": [_problem_data(problem) for problem in validation.problems],
        "findings": [_finding_data(finding) for finding in validation.findings],
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _problem_data(problem: Problem) -> dict[str, object]:
    return {
        "file": problem.source,
        "line": problem.place.line,
        "column": problem.place.column,
        "pointer": show_pointer(problem.pointer),
        "message": problem.message,
        "found": problem.found,
    }


def _finding_data(finding: Finding) -> dict[str, object]:
    data = asdict(finding)
    place = data.pop("place")
    del data["source_line"]
    return {**data, "severity": finding.severity.value, **place, "blocks": finding.blocks}


def as_markdown(validation: Validation) -> str:
    """For a pull request. Text from documents stands in code spans, so that it can neither link nor mention."""
    mark = {"pass": "✅", "blocked": "❌", "unreadable": "❌"}[outcome(validation)]
    lines = [f"### {mark} rollout validate", "", summary(validation)]
    if validation.problems or validation.findings:
        lines += ["", "| | Where | What | What to do |", "|---|---|---|---|"]
    lines += [
        f"| error | {_code(f'{p.source}:{p.place.line}')} | {_code(show_pointer(p.pointer))} {_code(p.message)} | |"
        for p in validation.problems
    ]
    lines += [_finding_row(finding) for finding in validation.findings]
    notes = list(_notes(validation))
    if notes:
        lines += ["", *(f"- {_code(note)}" for note in notes)]
    return "\n".join(lines) + "\n"


def _finding_row(finding: Finding) -> str:
    where = _code(f"{finding.file}:{finding.place.line}")
    todo = f"waived by {_code(finding.waived_by)}" if finding.waived_by else _code(finding.remediation)
    return f"| {_label(finding)} | {where} | **{finding.rule}**: {_code(finding.message)} | {todo} |"


def _code(text: str) -> str:
    """A code span that no content can leave: no backtick, no line end, no unescaped bar."""
    flat = " ".join(text.replace("`", "'").split()).replace("|", "\\|")
    return f"`{flat}`" if flat else ""
