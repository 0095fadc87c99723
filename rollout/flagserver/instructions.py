"""Semantic patches: what each instruction makes of a flag. All of them or none, absolute, no-ops allowed.

A flag has one rollout order, that of its variations, whatever the order in which the weights were given.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Final

from rollout.flagserver import targeting
from rollout.flagserver.book import Json
from rollout.flagserver.draft import Draft, Instruction, index_of, served, text
from rollout.flagserver.refusal import invalid


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


def _turn(*, on: bool) -> Callable[[Draft, Instruction], None]:
    def act(draft: Draft, _: Instruction) -> None:
        draft.flag["on"] = on

    return act


def _update_fallthrough(draft: Draft, instruction: Instruction) -> None:
    draft.flag["fallthrough"] = served(draft, instruction)


def _update_off(draft: Draft, instruction: Instruction) -> None:
    draft.flag["offVariation"] = index_of(draft, instruction.get("variationId"))


def _add_variation(draft: Draft, instruction: Instruction) -> None:
    if "value" not in instruction:
        raise invalid("a variation needs a value")
    value = instruction["value"]
    if value in draft.flag["variations"]:
        raise invalid(f"there is a variation {value!r} already")
    draft.flag["variations"] = [*draft.flag["variations"], value]
    named = {name: text(instruction, name, "") for name in ("name", "description") if name in instruction}
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
    "addRule": targeting.add_rule,
    "removeRule": targeting.remove_rule,
    "updateRuleVariationOrRollout": targeting.update_rule,
    "addTargets": targeting.add_targets,
    "removeTargets": targeting.remove_targets,
    "replaceTargets": targeting.replace_targets,
    "clearTargets": targeting.clear_targets,
    "addPrerequisite": targeting.add_prerequisite,
    "removePrerequisite": targeting.remove_prerequisite,
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
