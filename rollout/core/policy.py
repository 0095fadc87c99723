"""Rules, waivers and findings: what a change must satisfy, who was excused, and what was found.

A rule fails closed: an expression that raises, or whose answer is not a truth value, is a finding of its own
that blocks whatever the rule's severity is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from rollout.core.document import Place, Problem
from rollout.core.manifest import Document, Line, Name, Text

RULE_SCHEMA: Literal["adapter-rollout/rule/v1"] = "adapter-rollout/rule/v1"
WAIVERS_SCHEMA: Literal["adapter-rollout/waivers/v1"] = "adapter-rollout/waivers/v1"

JsonPointer = Annotated[str, StringConstraints(pattern=r"^(/[^/\r\n]+)*$", max_length=300)]

Evaluate = Callable[[str, Mapping[str, object]], object]
"""Evaluates one expression over named inputs. Raises ValueError if that is not possible."""


class Severity(StrEnum):
    """What a finding of the rule does."""

    BLOCK = "block"
    WARN = "warn"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One rule that one manifest does not satisfy, with the place that it points to."""

    rule: str
    severity: Severity
    message: str
    remediation: str
    file: str
    pointer: str
    place: Place = field(default=Place(1, 1))
    source_line: str = ""
    waived_by: str | None = None
    can_be_waived: bool = True

    @property
    def blocks(self) -> bool:
        """Whether the change must not go on."""
        return self.severity is Severity.BLOCK and self.waived_by is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """What the checks of some manifests found. `problems` are documents that could not be read.

    `retired` are manifests that exist at the base and no longer here; `unchecked` are rules whose inputs were
    not at hand.
    """

    checked: tuple[str, ...]
    rules: int
    findings: tuple[Finding, ...] = ()
    problems: tuple[Problem, ...] = ()
    retired: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()

    @property
    def blocked(self) -> bool:
        """Whether any finding blocks."""
        return any(finding.blocks for finding in self.findings)


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


_PLACEHOLDER = re.compile(r"\{([a-z_]+(?:\.[A-Za-z0-9_]+)*)\}")


def fill(message: str, inputs: Mapping[str, object]) -> str:
    """A message with `{artifact.max_rank}` replaced by the input's value; an unknown input reads `?`.

    A part between semicolons that speaks of empty lists alone is left out, unless every part does.
    """
    parts = message.split("; ")
    telling = [part for part in parts if not _is_about_nothing(part, inputs)]
    return "; ".join(
        _PLACEHOLDER.sub(lambda match: _shown(_lookup(inputs, match[1].split("."))), part)
        for part in telling or parts
    )


def _is_about_nothing(part: str, inputs: Mapping[str, object]) -> bool:
    values = [_lookup(inputs, match[1].split(".")) for match in _PLACEHOLDER.finditer(part)]
    return bool(values) and all(value == [] for value in values)


def _lookup(value: object, path: Sequence[str]) -> object:
    for part in path:
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _shown(value: object) -> str:
    if value is None:
        return "?"
    if isinstance(value, list | tuple):
        shown = [str(item) for item in value[:4]]
        return (
            ", ".join(shown) + (f" and {len(value) - 4} more" if len(value) > 4 else "") if shown else "none"
        )
    text = str(value)
    return text if len(text) <= 120 else text[:119] + "…"


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
