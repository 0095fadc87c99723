"""Instructions for what stands in front of the fallthrough: rules, targets, prerequisites."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from rollout.flagserver.book import Json
from rollout.flagserver.draft import Draft, Instruction, index_of, listed, served, text
from rollout.flagserver.refusal import invalid


def add_rule(draft: Draft, instruction: Instruction) -> None:
    """A new rule, last or before another. Raises Refusal 400."""
    clauses = instruction.get("clauses")
    if not isinstance(clauses, list) or not clauses:
        raise invalid("a rule needs clauses")
    rule = {"id": str(uuid.uuid4()), "clauses": [_clause(one) for one in clauses], "trackEvents": False}
    rule |= served(draft, instruction)
    if "description" in instruction:
        rule["description"] = text(instruction, "description", "")
    rules = listed(draft, "rules")
    before = instruction.get("beforeRuleId")
    place = len(rules) if before is None else _rule_place(rules, before)
    draft.flag["rules"] = [*rules[:place], rule, *rules[place:]]


def remove_rule(draft: Draft, instruction: Instruction) -> None:
    """The rule is gone. Raises Refusal 400."""
    rules = listed(draft, "rules")
    place = _rule_place(rules, instruction.get("ruleId"))
    draft.flag["rules"] = [*rules[:place], *rules[place + 1 :]]


def update_rule(draft: Draft, instruction: Instruction) -> None:
    """A rule serves something else. Raises Refusal 400."""
    rules = listed(draft, "rules")
    place = _rule_place(rules, instruction.get("ruleId"))
    kept = {name: value for name, value in rules[place].items() if name not in ("variation", "rollout")}
    changed = {**kept, **served(draft, instruction)}
    draft.flag["rules"] = [*rules[:place], changed, *rules[place + 1 :]]


def _clause(clause: object) -> Json:
    match clause:
        case {"attribute": str(attribute), "op": str(op), "values": list(values), **rest}:
            kind, negate = rest.get("contextKind", "user"), rest.get("negate", False)
            if isinstance(kind, str) and isinstance(negate, bool):
                named: Json = {"attribute": attribute, "op": op, "values": values}
                return {**named, "contextKind": kind, "negate": negate}
    raise invalid("a clause needs attribute, op and values")


def add_targets(draft: Draft, instruction: Instruction) -> None:
    """Keys that get a variation whatever the rules say. Raises Refusal 400."""
    index, kind, values = _targeted(draft, instruction)
    targets = _targets_of(draft, kind)
    taken = {value for target in targets if target["variation"] != index for value in target["values"]}
    if taken & set(values):
        raise invalid(f"{sorted(taken & set(values))} are targets of another variation already")
    had: list[str] = next((one["values"] for one in targets if one["variation"] == index), [])
    _put_targets(draft, kind, index, [*had, *(value for value in values if value not in had)])


def remove_targets(draft: Draft, instruction: Instruction) -> None:
    """They no longer do. Raises Refusal 400."""
    index, kind, values = _targeted(draft, instruction)
    had: list[str] = next(
        (one["values"] for one in _targets_of(draft, kind) if one["variation"] == index), []
    )
    _put_targets(draft, kind, index, [value for value in had if value not in values])


def replace_targets(draft: Draft, instruction: Instruction) -> None:
    """These targets, of all kinds of context, and no others. Raises Refusal 400."""
    wanted = instruction.get("targets")
    if not isinstance(wanted, list) or not all(isinstance(one, dict) for one in wanted):
        raise invalid("targets must be a list of targets")
    draft.flag["targets"], draft.flag["contextTargets"] = [], []
    for one in wanted:
        add_targets(draft, one)


def clear_targets(draft: Draft, instruction: Instruction) -> None:
    """No target of a variation any more, of whatever kind. Raises Refusal 400."""
    index = index_of(draft, instruction.get("variationId"))
    for place in ("targets", "contextTargets"):
        draft.flag[place] = [one for one in listed(draft, place) if one["variation"] != index]


def _targeted(draft: Draft, instruction: Instruction) -> tuple[int, str, list[str]]:
    values = instruction.get("values")
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values) or not values:
        raise invalid("values must be a list of keys")
    kind = text(instruction, "contextKind", "user")
    return index_of(draft, instruction.get("variationId")), kind, list(dict.fromkeys(values))


def _targets_of(draft: Draft, kind: str) -> list[Json]:
    place = "targets" if kind == "user" else "contextTargets"
    return [one for one in listed(draft, place) if one.get("contextKind", "user") == kind]


def _put_targets(draft: Draft, kind: str, index: int, values: list[str]) -> None:
    place = "targets" if kind == "user" else "contextTargets"
    others = [
        one
        for one in listed(draft, place)
        if one.get("contextKind", "user") != kind or one["variation"] != index
    ]
    named: Json = {"values": values, "variation": index}
    if kind != "user":
        named["contextKind"] = kind
    draft.flag[place] = sorted([*others, *([named] if values else [])], key=lambda one: int(one["variation"]))


def add_prerequisite(draft: Draft, instruction: Instruction) -> None:
    """Another flag that must serve a variation first. Raises Refusal 400."""
    key, variation = instruction.get("key"), instruction.get("variationId")
    if not isinstance(key, str) or not isinstance(variation, str) or key == draft.flag["key"]:
        raise invalid("a prerequisite needs the key of another flag and a variationId")
    if any(one["key"] == key for one in listed(draft, "prerequisites")):
        raise invalid(f"{key} is a prerequisite already")
    if draft.book.flag(key) is None:
        raise invalid(f"there is no flag {key}")
    other = Draft(draft.flag, draft.book.record(key), draft.book)
    wanted = {"key": key, "variation": index_of(other, variation)}
    draft.flag["prerequisites"] = [*listed(draft, "prerequisites"), wanted]


def remove_prerequisite(draft: Draft, instruction: Instruction) -> None:
    """It need not. Raises Refusal 400."""
    had = listed(draft, "prerequisites")
    kept = [one for one in had if one["key"] != instruction.get("key")]
    if kept == had:
        raise invalid(f"{instruction.get('key')!r} is no prerequisite")
    draft.flag["prerequisites"] = kept


def _rule_place(rules: Sequence[Json], id_: object) -> int:
    for place, rule in enumerate(rules):
        if rule.get("id") == id_:
            return place
    raise invalid(f"there is no rule with the id {id_!r}")
