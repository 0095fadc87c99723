"""The report of a validation as machines read it: a versioned document with a schema of its own."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from rollout.core.finding import Severity
from rollout.core.manifest import Document

FINDINGS_SCHEMA: Literal["adapter-rollout/findings/v1"] = "adapter-rollout/findings/v1"

Position = Annotated[int, Field(ge=1, description="Counted from 1; columns in characters.")]


class _Reported(Document):
    # What is reported was read already; a second limit could only keep a finding from being told.
    model_config = ConfigDict(str_max_length=None)


class ReportedRule(_Reported):
    """One rule that was asked."""

    id: str
    title: str
    severity: Severity
    checked: bool = Field(description="False if its inputs were not at hand, or it is asked at release.")
    docs: str = Field(description="Where more is written; a URL, or a path from the root of the repository.")


class ReportedProblem(_Reported):
    """One reason why a document could not be read."""

    file: str
    line: Position
    column: Position
    end_line: Position | None
    end_column: Position | None
    pointer: str = Field(description="JSON pointer (RFC 6901) of the field.")
    message: str
    found: str | None = Field(description="What stands there, shortened.")


class ReportedFinding(_Reported):
    """One rule that one manifest does not satisfy."""

    rule: str
    severity: Severity
    blocks: bool = Field(description="Whether the change must not go on: severity `block`, and not waived.")
    waived_by: str | None = Field(description="Who approved the waiver that holds, if there is one.")
    waiver_reason: str | None = Field(description="Why it was granted.")
    waiver_expires: date | None = Field(description="The first day on which the waiver no longer holds.")
    can_be_waived: bool
    message: str
    remediation: str
    file: str
    line: Position
    column: Position
    end_line: Position | None
    end_column: Position | None
    pointer: str = Field(description="JSON pointer (RFC 6901) of the field.")


class Counts(_Reported):
    """How much was found."""

    problems: int
    blocking: int
    warnings: int
    waived: int


class ReportedError(_Reported):
    """Why the run could not be done at all."""

    code: str
    message: str
    advice: str
    runbook: str = Field(description="The code of the page that `rollout runbook` shows.")


class FindingsReport(_Reported):
    """What `rollout validate --format json` prints."""

    model_config = ConfigDict(title="Findings v1")

    schema_: Literal["adapter-rollout/findings/v1"] = Field(alias="schema")
    outcome: Literal["pass", "blocked", "unreadable"]
    exit_status: int = Field(description="What the process ended with: 0 pass, 1 blocked, 3 unreadable.")
    error: ReportedError | None = Field(
        description="Why nothing could be checked: no rules, a base that is not known. The outcome is `unreadable`, "
        "and the exit status that of the error."
    )
    counts: Counts
    checked: tuple[str, ...] = Field(description="Manifests that were checked.")
    retired: tuple[str, ...] = Field(description="Manifests that the base has and the change does not.")
    rules: tuple[ReportedRule, ...]
    problems: tuple[ReportedProblem, ...] = Field(description="Documents that could not be read, and why.")
    findings: tuple[ReportedFinding, ...]
