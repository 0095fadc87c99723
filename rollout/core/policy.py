"""Rules, waivers and findings: what a change must satisfy, who was excused, and what was found.

A rule fails closed: an expression that raises, or whose answer is not a truth value, is a finding of its own
that blocks whatever the rule's severity is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from enum import StrEnum
from graphlib import CycleError, TopologicalSorter
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from rollout.core.approval import person
from rollout.core.builtin import BUILT_IN
from rollout.core.document import masked
from rollout.core.expression import too_costly
from rollout.core.finding import Finding, Severity, fill
from rollout.core.manifest import Document, Line, Name, Semver, Text

RULE_SCHEMA: Literal["adapter-rollout/rule/v1"] = "adapter-rollout/rule/v1"
WAIVERS_SCHEMA: Literal["adapter-rollout/waivers/v1"] = "adapter-rollout/waivers/v1"

JsonPointer = Annotated[str, StringConstraints(pattern=r"^(/[^/\r\n]+)*$", max_length=300)]

Evaluator = Callable[[Mapping[str, object]], Callable[[str], object]]
"""Takes named inputs; the answer evaluates expressions over them, and raises ValueError if it cannot."""


class CheckedAt(StrEnum):
    """When a rule is checked; a rule of the pull request is checked again at release."""

    PULL_REQUEST = "pull_request"
    RELEASE = "release"


class Need(StrEnum):
    """An input that is not always at hand."""

    ARTIFACT = "artifact"
    PREVIOUS = "previous"


INPUTS: Mapping[str, str] = MappingProxyType(
    {
        "manifest": "the manifest, every optional field present (null if it is not set)",
        "previous": "the manifest of that name at the base; null for a first version",
        "change": "kind (first, none, patch, minor, major, invalid), bytes_changed, differs, path, revert, "
        "policies_changed, base_changed, reuses_version",
        "artifact": "facts read from the bytes: what `rollout inspect --json` shows, without its details",
        "signature": "present, verified, signer, problem",
        "data": "the data card, manifest.data",
        "serving": "a list: environment, stage, and the limits of its servers",
        "plan": "the plan that the manifest names, shares in percent and times in seconds; null if unknown",
        "freezes": "the freezes of policies/freezes.yaml",
        "approval": "by (who approved), others (those of them who did not make the change), roles",
        "pull_request": "what the forge says: number, author, head, teams, labels, approvals; null if nobody asked it",
        "known": "names that exist: suites, plans, freezes; released (versions, known at release only)",
        "today": "the date, YYYY-MM-DD",
        "now": "the time, ISO 8601",
    }
)
"""The names that the expression of a rule may use, and what each holds."""


class Rule(Document):
    """One policy rule (`policies/rules/<id>/rule.yaml`).

    `test` is a CEL expression over the INPUTS that is true if the change is in order. In `message`,
    `{manifest.version}` stands for an input.
    """

    schema_: Literal["adapter-rollout/rule/v1"] = Field(alias="schema")
    id: Name = Field(description="The name of its folder.")
    title: Line = Field(description="What is in order, in one sentence.")
    severity: Severity = Field(description="What a finding does: `block` or `warn`.")
    stage: CheckedAt = Field(
        default=CheckedAt.PULL_REQUEST,
        description="When it is asked: `pull_request` (and again at release), or `release` alone.",
    )
    needs: tuple[Need, ...] = Field(
        default=(),
        description="Inputs without which the rule is left out and named as unchecked. An unreadable artifact "
        "blocks by itself, and `previous` is at hand whenever a base is given.",
    )
    after: tuple[Name, ...] = Field(
        default=(),
        description="Rules whose blocking finding says already what this one would: it is then left out.",
    )
    exempt_reverts: bool = Field(
        default=False, description="Whether content that was released before passes without this rule."
    )
    since: Semver = Field(description="Version of rollout, or of your own policies, that brought it.")
    docs: Line | None = Field(default=None, description="Where more is written; a path or a URL.")
    why: Text = Field(description="What goes wrong without it.")
    test: Text = Field(description="CEL expression; true means that the change is in order.")
    message: Line = Field(
        description="What is said of a finding; {manifest.version} stands for an input, and a part between "
        "semicolons that speaks of empty lists alone is left out."
    )
    remediation: Text = Field(description="What to do.")
    pointer: JsonPointer = Field(description="The manifest field that a finding points to.")

    @model_validator(mode="after")
    def _ends_soon(self) -> Rule:
        if reason := too_costly(self.test):
            raise ValueError(f"the test could run for too long: {reason}")
        return self

    @property
    def file(self) -> str:
        """Where it stands in a repository."""
        return f"policies/rules/{self.id}/rule.yaml"

    @property
    def anchor(self) -> str:
        """Where more is written: its own page, or its heading in the book of all rules."""
        return self.docs or f"policies/README.md#{self.id}"


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
        if person(self.approver) in {person(self.owner), ""}:
            raise ValueError("a waiver is approved by someone other than its owner")
        return self


class Waivers(Document):
    """All exceptions (`policies/waivers.yaml`)."""

    schema_: Literal["adapter-rollout/waivers/v1"] = Field(alias="schema")
    waivers: tuple[Waiver, ...] = ()


def check_book(rules: Sequence[Rule]) -> None:
    """Raise ValueError if two rules share an id, or `after` names none, or leads back to where it began."""
    ids = [rule.id for rule in rules]
    if taken := sorted(BUILT_IN.keys() & set(ids)):
        raise ValueError(f"the id {', '.join(taken)} belongs to rollout itself")
    if len(set(ids)) != len(ids):
        raise ValueError(f"two rules share an id: {', '.join(sorted(ids))}")
    after = {rule.id: rule.after for rule in rules}
    for rule in rules:
        if unknown := sorted(set(rule.after) - after.keys()):
            raise ValueError(f"the rule {rule.id!r} comes after {', '.join(unknown)}, which is no rule")
    try:
        TopologicalSorter(after).prepare()
    except CycleError as error:
        raise ValueError(f"rules come after each other in a circle: {' -> '.join(error.args[1])}") from None


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
    rules: Sequence[Rule],
    inputs: Mapping[str, object],
    evaluator: Evaluator,
    *,
    file: str,
    excused: frozenset[str] = frozenset(),
) -> tuple[Finding, ...]:
    """Every rule over one manifest's inputs; the places are filled in by whoever has them.

    A rule is left out if one that it comes after blocks already; a finding of an `excused` rule, which somebody
    has waived, silences nothing.
    """
    evaluate = evaluator(inputs)
    present = {rule.id: rule for rule in rules}
    findings: dict[str, Finding | None] = {}
    order = TopologicalSorter({rule.id: [each for each in rule.after if each in present] for rule in rules})
    for name in order.static_order():
        before = (findings[each] for each in present[name].after if each in findings)
        silenced = any(each and each.blocks and each.rule not in excused for each in before)
        findings[name] = None if silenced else _finding(present[name], inputs, evaluate, file)
    return tuple(finding for rule in rules if (finding := findings[rule.id]) is not None)


def _finding(
    rule: Rule, inputs: Mapping[str, object], evaluate: Callable[[str], object], file: str
) -> Finding | None:
    try:
        answer = evaluate(rule.test)
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
        message=f"the rule could not be evaluated: {reason} ({rule.file})",
        remediation=f"Give the inputs that the rule needs, or correct its expression in {rule.file}.",
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
    holding = {waiver.rule: waiver for waiver in held(waivers, name=name, now=now)}
    return tuple(
        _waived(finding, holding[finding.rule])
        if finding.can_be_waived and finding.rule in holding
        else finding
        for finding in findings
    )


def _waived(finding: Finding, waiver: Waiver) -> Finding:
    return replace(
        finding,
        waived_by=waiver.approver,
        waiver_reason=masked(waiver.reason),
        waiver_expires=waiver.expires,
    )


def held(waivers: Iterable[Waiver], *, name: str, now: datetime) -> tuple[Waiver, ...]:
    """The waivers of the adapter `name` that hold today."""
    return tuple(waiver for waiver in waivers if waiver.manifest == name and now.date() < waiver.expires)


def complaint_about(
    waiver: Waiver,
    *,
    rules: Collection[str],
    names: Collection[str],
    satisfied: Collection[str],
    now: datetime,
) -> str | None:
    """Why a waiver should go, or None.

    `rules` and `names` are all that exist, `satisfied` the rules that its adapter is known to satisfy.
    """
    if now.date() >= waiver.expires:
        return f"it expired on {waiver.expires} and excuses nothing any more"
    if waiver.rule not in rules:
        return f"there is no rule {waiver.rule!r}"
    if waiver.manifest not in names:
        return f"there is no adapter {waiver.manifest!r}"
    if waiver.rule in satisfied:
        return f"{waiver.manifest} satisfies {waiver.rule} without it"
    return None
