"""Semantic patches: what each instruction makes of a flag. All of them or none, absolute, no-ops allowed.

A flag has one rollout order, that of its variations, whatever the order in which the weights were given.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rollout.core.plan import WHOLE
from rollout.flagserver.book import Book, Json
from rollout.flagserver.refusal import invalid


@dataclass(frozen=True, slots=True)
class Draft:
    """A flag with its record, on the way to what the patch says; `book` is read, for what it says of other flags."""

    flag: Json
    record: Json
    book: Book


Instruction = Mapping[str, Any]


def carry_out(draft: Draft, instructions: object) -> None:
    """Change the draft as the instructions say. Raises Refusal 400, and then the draft is worth nothing."""
    if not isinstance(instructions, list) or not instructions:
        raise invalid("instructions must be a list with at least one instruction")
    for number, instruction in enumerate(instructions):
        kind = instruction.get("kind") if isinstance(instruction, dict) else None
        if not isinstance(kind, str) or kind not in _ACTS:
            raise invalid(f"instructions[{number}]: unknown kind {kind!r}")
        _ACTS[kind](draft, instruction)


def needs_environment(instructions: object) -> bool:
    """Whether some of them speak of one environment."""
    each = instructions if isinstance(instructions, list) else []
    return any(isinstance(one, dict) and one.get("kind") not in _GLOBAL for one in each)


def checked_fallthrough(fallthrough: object, variations: int) -> None:
    """Raise Refusal 400 unless it serves one variation or a rollout whose weights sum to 100000."""
    if not isinstance(fallthrough, dict) or ("variation" in fallthrough) == ("rollout" in fallthrough):
        raise invalid("a fallthrough serves either a variation or a rollout")
    if "variation" in fallthrough:
        _checked_index(fallthrough["variation"], variations)
        return
    rollout = fallthrough["rollout"]
    parts = rollout.get("variations") if isinstance(rollout, dict) else None
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise invalid("a rollout lists its variations")
    for part in parts:
        _checked_index(part.get("variation"), variations)
    _check_sum([part.get("weight") for part in parts])


def _turn(*, on: bool) -> Callable[[Draft, Instruction], None]:
    def act(draft: Draft, _: Instruction) -> None:
        draft.flag["on"] = on

    return act


def _update_fallthrough(draft: Draft, instruction: Instruction) -> None:
    draft.flag["fallthrough"] = _served(draft, instruction)


def _update_off(draft: Draft, instruction: Instruction) -> None:
    draft.flag["offVariation"] = _index(draft, instruction.get("variationId"))


def _served(draft: Draft, instruction: Instruction) -> Json:
    """The variation or the rollout that an instruction names."""
    weights = instruction.get("rolloutWeights")
    if ("variationId" in instruction) == (weights is not None):
        raise invalid("give either variationId or rolloutWeights")
    if weights is None:
        return {"variation": _index(draft, instruction.get("variationId"))}
    if not isinstance(weights, dict):
        raise invalid("rolloutWeights must be an object of weights by variation id")
    by_index = {_index(draft, id_): weight for id_, weight in weights.items()}
    _check_sum(list(by_index.values()))
    parts = [
        {"variation": index, "weight": by_index.get(index, 0)}
        for index in range(len(draft.flag["variations"]))
    ]
    rollout: Json = {"contextKind": _text(instruction, "rolloutContextKind", "user"), "variations": parts}
    if "rolloutBucketBy" in instruction:
        rollout["bucketBy"] = _text(instruction, "rolloutBucketBy", "key")
    return {"rollout": rollout}


def _add_rule(draft: Draft, instruction: Instruction) -> None:
    clauses = instruction.get("clauses")
    if not isinstance(clauses, list) or not clauses:
        raise invalid("a rule needs clauses")
    rule = {"id": str(uuid.uuid4()), "clauses": [_clause(one) for one in clauses], "trackEvents": False}
    rule |= _served(draft, instruction)
    if "description" in instruction:
        rule["description"] = _text(instruction, "description", "")
    rules = _listed(draft, "rules")
    before = instruction.get("beforeRuleId")
    place = len(rules) if before is None else _rule_place(rules, before)
    draft.flag["rules"] = [*rules[:place], rule, *rules[place:]]


def _remove_rule(draft: Draft, instruction: Instruction) -> None:
    rules = _listed(draft, "rules")
    place = _rule_place(rules, instruction.get("ruleId"))
    draft.flag["rules"] = [*rules[:place], *rules[place + 1 :]]


def _update_rule(draft: Draft, instruction: Instruction) -> None:
    rules = _listed(draft, "rules")
    place = _rule_place(rules, instruction.get("ruleId"))
    kept = {name: value for name, value in rules[place].items() if name not in ("variation", "rollout")}
    changed = {**kept, **_served(draft, instruction)}
    draft.flag["rules"] = [*rules[:place], changed, *rules[place + 1 :]]


def _clause(clause: object) -> Json:
    match clause:
        case {"attribute": str(attribute), "op": str(op), "values": list(values), **rest}:
            kind, negate = rest.get("contextKind", "user"), rest.get("negate", False)
            if isinstance(kind, str) and isinstance(negate, bool):
                named: Json = {"attribute": attribute, "op": op, "values": values}
                return {**named, "contextKind": kind, "negate": negate}
    raise invalid("a clause needs attribute, op and values")


def _add_targets(draft: Draft, instruction: Instruction) -> None:
    index, kind, values = _targeted(draft, instruction)
    targets = _targets_of(draft, kind)
    taken = {value for target in targets if target["variation"] != index for value in target["values"]}
    if taken & set(values):
        raise invalid(f"{sorted(taken & set(values))} are targets of another variation already")
    had: list[str] = next((one["values"] for one in targets if one["variation"] == index), [])
    _put_targets(draft, kind, index, [*had, *(value for value in values if value not in had)])


def _remove_targets(draft: Draft, instruction: Instruction) -> None:
    index, kind, values = _targeted(draft, instruction)
    had: list[str] = next(
        (one["values"] for one in _targets_of(draft, kind) if one["variation"] == index), []
    )
    _put_targets(draft, kind, index, [value for value in had if value not in values])


def _targeted(draft: Draft, instruction: Instruction) -> tuple[int, str, list[str]]:
    values = instruction.get("values")
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values) or not values:
        raise invalid("values must be a list of keys")
    kind = _text(instruction, "contextKind", "user")
    return _index(draft, instruction.get("variationId")), kind, list(dict.fromkeys(values))


def _targets_of(draft: Draft, kind: str) -> list[Json]:
    place = "targets" if kind == "user" else "contextTargets"
    return [one for one in _listed(draft, place) if one.get("contextKind", "user") == kind]


def _put_targets(draft: Draft, kind: str, index: int, values: list[str]) -> None:
    place = "targets" if kind == "user" else "contextTargets"
    others = [
        one
        for one in _listed(draft, place)
        if one.get("contextKind", "user") != kind or one["variation"] != index
    ]
    named: Json = {"values": values, "variation": index}
    if kind != "user":
        named["contextKind"] = kind
    draft.flag[place] = sorted([*others, *([named] if values else [])], key=lambda one: int(one["variation"]))


def _add_prerequisite(draft: Draft, instruction: Instruction) -> None:
    key, variation = instruction.get("key"), instruction.get("variationId")
    if not isinstance(key, str) or not isinstance(variation, str) or key == draft.flag["key"]:
        raise invalid("a prerequisite needs the key of another flag and a variationId")
    if any(one["key"] == key for one in _listed(draft, "prerequisites")):
        raise invalid(f"{key} is a prerequisite already")
    if draft.book.flag(key) is None:
        raise invalid(f"there is no flag {key}")
    other = Draft(draft.flag, draft.book.record(key), draft.book)
    wanted = {"key": key, "variation": _index(other, variation)}
    draft.flag["prerequisites"] = [*_listed(draft, "prerequisites"), wanted]


def _remove_prerequisite(draft: Draft, instruction: Instruction) -> None:
    had = _listed(draft, "prerequisites")
    kept = [one for one in had if one["key"] != instruction.get("key")]
    if kept == had:
        raise invalid(f"{instruction.get('key')!r} is no prerequisite")
    draft.flag["prerequisites"] = kept


def _add_variation(draft: Draft, instruction: Instruction) -> None:
    if "value" not in instruction:
        raise invalid("a variation needs a value")
    value = instruction["value"]
    if value in draft.flag["variations"]:
        raise invalid(f"there is a variation {value!r} already")
    draft.flag["variations"] = [*draft.flag["variations"], value]
    named = {name: instruction[name] for name in ("name", "description") if name in instruction}
    added: Json = {"_id": str(uuid.uuid4()), **named}
    draft.record["variations"] = [*draft.record["variations"], added]


def _archive(*, archived: bool) -> Callable[[Draft, Instruction], None]:
    def act(draft: Draft, _: Instruction) -> None:
        key = draft.flag["key"]
        needed = [each for each, flag in draft.book.flags.items() if _requires(flag, key)]
        if archived and needed:
            raise invalid(f"{key} is a prerequisite of {', '.join(needed)} and cannot be archived")
        draft.record["archived"] = archived

    return act


def _tags(*, add: bool) -> Callable[[Draft, Instruction], None]:
    def act(draft: Draft, instruction: Instruction) -> None:
        values = instruction.get("values")
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise invalid("values must be a list of tags")
        had = set(draft.record["tags"])
        draft.record["tags"] = sorted(had | set(values) if add else had - set(values))

    return act


def _write_down(name: str) -> Callable[[Draft, Instruction], None]:
    def act(draft: Draft, instruction: Instruction) -> None:
        if not isinstance(instruction.get("value"), str):
            raise invalid(f"the {name} must be a text")
        draft.record[name] = instruction["value"]

    return act


def _temporary(*, temporary: bool) -> Callable[[Draft, Instruction], None]:
    def act(draft: Draft, _: Instruction) -> None:
        draft.record["temporary"] = temporary

    return act


_ACTS: Final[Mapping[str, Callable[[Draft, Instruction], None]]] = {
    "turnFlagOn": _turn(on=True),
    "turnFlagOff": _turn(on=False),
    "updateFallthroughVariationOrRollout": _update_fallthrough,
    "updateOffVariation": _update_off,
    "addRule": _add_rule,
    "removeRule": _remove_rule,
    "updateRuleVariationOrRollout": _update_rule,
    "addTargets": _add_targets,
    "removeTargets": _remove_targets,
    "addPrerequisite": _add_prerequisite,
    "removePrerequisite": _remove_prerequisite,
    "addVariation": _add_variation,
    "archiveFlag": _archive(archived=True),
    "restoreFlag": _archive(archived=False),
    "addTags": _tags(add=True),
    "removeTags": _tags(add=False),
    "updateName": _write_down("name"),
    "updateDescription": _write_down("description"),
    "makeFlagTemporary": _temporary(temporary=True),
    "makeFlagPermanent": _temporary(temporary=False),
}
_GLOBAL: Final = frozenset(
    {"addVariation", "archiveFlag", "restoreFlag", "addTags", "removeTags", "updateName", "updateDescription"}
    | {"makeFlagTemporary", "makeFlagPermanent"}
)


def _requires(flag: object, key: str) -> bool:
    prerequisites = flag.get("prerequisites") if isinstance(flag, dict) else None
    return any(isinstance(one, dict) and one.get("key") == key for one in prerequisites or [])


def _listed(draft: Draft, name: str) -> list[Json]:
    return list(draft.flag.get(name) or [])


def _index(draft: Draft, id_: object) -> int:
    for index, variation in enumerate(draft.record["variations"]):
        if variation["_id"] == id_:
            return index
    raise invalid(f"there is no variation with the id {id_!r}")


def _rule_place(rules: Sequence[Json], id_: object) -> int:
    for place, rule in enumerate(rules):
        if rule.get("id") == id_:
            return place
    raise invalid(f"there is no rule with the id {id_!r}")


def _check_sum(weights: Sequence[object]) -> None:
    if any(type(weight) is not int or weight < 0 for weight in weights):
        raise invalid("weights must be whole numbers from 0 on, in thousandths of a percent")
    if sum(weight for weight in weights if isinstance(weight, int)) != WHOLE:
        raise invalid(f"weights must sum to {WHOLE}")


def _checked_index(index: object, variations: int) -> None:
    if type(index) is not int or not 0 <= index < variations:
        raise invalid(f"there is no variation {index!r}")


def _text(instruction: Instruction, name: str, fallback: str) -> str:
    value = instruction.get(name, fallback)
    if not isinstance(value, str) or not value:
        raise invalid(f"{name} must be a text")
    return value
