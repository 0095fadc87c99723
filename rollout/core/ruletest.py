"""Examples of rules: inputs that a rule lets pass, inputs that it must catch, and the proof that they say so.

An example is a change to a complete set of inputs that is all in order (`policies/rules/example.yaml`). A denied
one must trip its own rule and no other; and if the rule's expression is negated, an example must notice, since
otherwise nothing holds the rule to what it says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints

from rollout.core.document import read_pointer
from rollout.core.finding import Finding
from rollout.core.policy import Evaluator, Rule, check

ExamplePointer = Annotated[str, StringConstraints(pattern=r"^(/[^/\r\n]+)+$", max_length=300)]


class ExampleInputs(BaseModel):
    """A complete set of inputs, all in order."""

    model_config = ConfigDict(extra="allow", frozen=True)


class Patch(BaseModel):
    """One example: other values at some JSON pointers of the complete inputs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    set: dict[ExamplePointer, JsonValue] = Field(max_length=64)


class Kind(StrEnum):
    """What must come of an example."""

    ALLOWED = "allowed"
    DENIED = "denied"


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One example of one rule, with its complete inputs. `source` is its file."""

    rule: str
    kind: Kind
    source: str
    inputs: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What came of one example, or of one rule as a whole; `complaint` is None if all is as it must be."""

    rule: str
    what: str
    complaint: str | None


def patched(complete: Mapping[str, object], patch: Patch) -> Mapping[str, object]:
    """The complete inputs with the patch's values. Raises ValueError for a pointer that leads nowhere."""
    data = dict(complete)
    for pointer, value in patch.set.items():
        data = _with(data, read_pointer(pointer), value, pointer)
    return data


def _with(node: object, way: Sequence[str | int], value: object, pointer: str) -> dict[str, object]:
    changed = _replaced(node, way, value, pointer)
    assert isinstance(changed, dict)
    return changed


def _replaced(node: object, way: Sequence[str | int], value: object, pointer: str) -> object:
    if not way:
        return value
    first, *rest = way
    if isinstance(node, Mapping) and first in node:
        return {**node, first: _replaced(node[first], rest, value, pointer)}
    if isinstance(node, list) and str(first).isdigit() and int(first) < len(node):
        at = int(first)
        return [*node[:at], _replaced(node[at], rest, value, pointer), *node[at + 1 :]]
    raise ValueError(f"there is nothing at {pointer} in the complete inputs")


def try_rules(
    rules: Sequence[Rule], complete: Mapping[str, object], examples: Iterable[Example], evaluator: Evaluator
) -> tuple[Trial, ...]:
    """Run every example against all rules, and every rule's negation against its own examples.

    If the complete inputs fail a rule, so does nearly every change of them: that is then all that is told.
    """
    trials = [_untouched(rules, complete, evaluator)]
    if trials[0].complaint:
        return tuple(trials)
    by_rule: dict[str, list[Example]] = {rule.id: [] for rule in rules}
    for example in examples:
        by_rule.setdefault(example.rule, []).append(example)
        trials.append(_tried(rules, example, evaluator))
    trials += [_held(rule, by_rule[rule.id], evaluator) for rule in rules]
    return tuple(trials)


def _untouched(rules: Sequence[Rule], complete: Mapping[str, object], evaluator: Evaluator) -> Trial:
    found = check(rules, complete, evaluator, file="")
    if not found:
        return Trial(rule="", what="the complete inputs pass every rule", complaint=None)
    first, *others = found
    file = next(rule.file for rule in rules if rule.id == first.rule)
    more = f"; so do {', '.join(finding.rule for finding in others)}" if others else ""
    return Trial(
        rule=first.rule,
        what="the complete inputs, policies/rules/example.yaml, do not pass this rule",
        complaint=f"{first.message} ({file}){more}; no example was tried, since each is a change of these inputs",
    )


def _tried(rules: Sequence[Rule], example: Example, evaluator: Evaluator) -> Trial:
    found = {finding.rule: finding for finding in check(rules, example.inputs, evaluator, file="")}
    own = found.pop(example.rule, None)
    complaint: str | None = None
    if own is not None and not own.can_be_waived:
        complaint = own.message
    elif example.kind is Kind.ALLOWED and own is not None:
        complaint = f"allowed, and yet the rule finds: {own.message}"
    elif example.kind is Kind.DENIED and own is None:
        complaint = "denied, and yet the rule lets it pass"
    elif example.kind is Kind.DENIED and found:
        complaint = _not_alone(example.rule, sorted(found.values(), key=lambda finding: finding.rule))
    return Trial(rule=example.rule, what=example.source, complaint=complaint)


def _not_alone(rule: str, others: Sequence[Finding]) -> str:
    told = "; ".join(f"{finding.rule} ({finding.message})" for finding in others)
    files = " and ".join(f"policies/rules/{finding.rule}/rule.yaml" for finding in others)
    return (
        f"other rules find something too: {told}. Change the example so that it is in order for them, or where a "
        f"blocking {rule} says it already, add `after: [{rule}]` to {files}"
    )


def _held(rule: Rule, examples: Sequence[Example], evaluator: Evaluator) -> Trial:
    """Whether some example fails if the rule says the opposite of what it says."""
    what = "its examples notice if the test is negated"
    kinds = {example.kind for example in examples}
    if missing := [kind.value for kind in Kind if kind not in kinds]:
        return Trial(rule=rule.id, what=what, complaint=f"there is no {' and no '.join(missing)} example")
    negated = rule.model_copy(update={"test": f"!({rule.test})", "after": ()})
    noticed = any(
        bool(check([negated], example.inputs, evaluator, file="")) != (example.kind is Kind.DENIED)
        for example in examples
    )
    return Trial(rule=rule.id, what=what, complaint=None if noticed else "no example notices")
