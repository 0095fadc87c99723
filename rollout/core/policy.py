"""Rules, waivers and findings: what a change must satisfy, who was excused, and what was found.

A rule fails closed: an expression that raises, or whose answer is not a truth value, is a finding of its own
that blocks whatever the rule's severity is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from rollout.core.finding import Finding, Severity, fill
from rollout.core.manifest import Document, Line, Name, Text

RULE_SCHEMA: Literal["adapter-rollout/rule/v1"] = "adapter-rollout/rule/v1"
WAIVERS_SCHEMA: Literal["adapter-rollout/waivers/v1"] = "adapter-rollout/waivers/v1"

JsonPointer = Annotated[str, StringConstraints(pattern=r"^(/[^/\r\n]+)*$", max_length=300)]

Evaluate = Callable[[str, Mapping[str, object]], object]
"""Evaluates one expression over named inputs. Raises ValueError if that is not possible."""


class CheckedAt(StrEnum):
    """When a rule is checked; a rule of the pull request is checked again at release."""

    PULL_REQUEST = "pull_request"
    RELEASE = "release"


class Need(StrEnum):
    """An input that is not always at hand."""

    ARTIFACT = "artifact"
    PREVIOUS = "previous"


class Rule(Document):
    """One policy rule (`policies/rules/<id>/rule.yaml`).

    `test` is a CEL expression that is true if the change is in order. It sees `manifest`, `previous`,
    `change`, `artifact`, `serving`, `known`, `today` and `now`. In `message`, `{manifest.version}` stands for
    an input.
    """

    schema_: Literal["adapter-rollout/rule/v1"] = Field(alias="schema")
    id: Name
    title: Line
    severity: Severity
    stage: CheckedAt = CheckedAt.PULL_REQUEST
    needs: tuple[Need, ...] = Field(
        default=(),
        description="Inputs without which the rule is left out and named as unchecked. An unreadable artifact "
        "blocks by itself, and `previous` is at hand whenever a base is given.",
    )
    exempt_reverts: bool = Field(
        default=False, description="Whether content that was released before passes without this rule."
    )
    why: Text
    test: Text = Field(description="CEL expression; true means that the change is in order.")
    message: Line
    remediation: Text
    pointer: JsonPointer = Field(description="The manifest field that a finding points to.")


class Waiver(Document):
    """One exception from one rule for one adapter, until a date."""

    rule: Name
    manifest: Name
    reason: Text
    owner: Line
    approver: Line
    expires: date = Field(description="The first day on which it no longer holds.")

    @model_validator(mode="after")
    def _four_eyes(self) -> Waiver:
        if self.owner.casefold() == self.approver.casefold():
            raise ValueError("a waiver is approved by someone other than its owner")
        return self


class Waivers(Document):
    """All exceptions (`policies/waivers.yaml`)."""

    schema_: Literal["adapter-rollout/waivers/v1"] = Field(alias="schema")
    waivers: tuple[Waiver, ...] = ()


def applicable(
    rules: Sequence[Rule], *, at: CheckedAt, absent: frozenset[Need], revert: bool
) -> tuple[Rule, ...]:
    """The rules that are checked here and now. Release checks those of the pull request again."""
    return tuple(
        rule
        for rule in rules
        if (rule.stage is CheckedAt.PULL_REQUEST or at is CheckedAt.RELEASE)
        and not absent.intersection(rule.needs)
        and not (revert and rule.exempt_reverts)
    )


def check(
    rules: Iterable[Rule], inputs: Mapping[str, object], evaluate: Evaluate, *, file: str
) -> tuple[Finding, ...]:
    """Every rule over one manifest's inputs; the places are filled in by whoever has them."""
    findings = (_finding(rule, inputs, evaluate, file) for rule in rules)
    return tuple(finding for finding in findings if finding is not None)


def _finding(rule: Rule, inputs: Mapping[str, object], evaluate: Evaluate, file: str) -> Finding | None:
    try:
        answer = evaluate(rule.test, inputs)
    except ValueError as error:
        return _undecided(rule, file, str(error))
    if answer is True:
        return None
    if answer is not False:
        return _undecided(rule, file, f"its answer is {type(answer).__name__}, not true or false")
    return Finding(
        rule=rule.id,
        severity=rule.severity,
        message=fill(rule.message, inputs),
        remediation=rule.remediation,
        file=file,
        pointer=rule.pointer,
    )


def _undecided(rule: Rule, file: str, reason: str) -> Finding:
    return Finding(
        rule=rule.id,
        severity=Severity.BLOCK,
        message=f"the rule could not be evaluated: {reason}",
        remediation="Give the inputs that the rule needs, or correct its expression.",
        file=file,
        pointer=rule.pointer,
        can_be_waived=False,
    )


def waive(
    findings: Iterable[Finding], waivers: Iterable[Waiver], *, name: str, now: datetime
) -> tuple[Finding, ...]:
    """The findings of the adapter `name`, with the waivers that hold today. An expired one excuses nothing.

    A rule that could not be evaluated is not waived: nobody knows what would be excused.
    """
    holding = {
        waiver.rule: waiver.approver
        for waiver in waivers
        if waiver.manifest == name and now.date() < waiver.expires
    }
    return tuple(
        replace(finding, waived_by=holding.get(finding.rule)) if finding.can_be_waived else finding
        for finding in findings
    )
