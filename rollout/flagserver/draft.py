"""A flag on the way to what a patch says, and what every instruction needs of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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


def checked_fallthrough(fallthrough: object, variations: int) -> None:
    """Raise Refusal 400 unless it serves one variation or a rollout whose weights sum to 100000."""
    if not isinstance(fallthrough, dict) or ("variation" in fallthrough) == ("rollout" in fallthrough):
        raise invalid("a fallthrough serves either a variation or a rollout")
    if "variation" in fallthrough:
        check_index(fallthrough["variation"], variations)
        return
    rollout = fallthrough["rollout"]
    parts = rollout.get("variations") if isinstance(rollout, dict) else None
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise invalid("a rollout lists its variations")
    for part in parts:
        check_index(part.get("variation"), variations)
    _check_sum([part.get("weight") for part in parts])


def served(draft: Draft, instruction: Instruction) -> Json:
    """The variation or the rollout that an instruction names."""
    weights = instruction.get("rolloutWeights")
    if ("variationId" in instruction) == (weights is not None):
        raise invalid("give either variationId or rolloutWeights")
    if weights is None:
        return {"variation": index_of(draft, instruction.get("variationId"))}
    if not isinstance(weights, dict):
        raise invalid("rolloutWeights must be an object of weights by variation id")
    by_index = {index_of(draft, id_): weight for id_, weight in weights.items()}
    _check_sum(list(by_index.values()))
    parts = [
        {"variation": index, "weight": by_index.get(index, 0)}
        for index in range(len(draft.flag["variations"]))
    ]
    rollout: Json = {"contextKind": text(instruction, "rolloutContextKind", "user"), "variations": parts}
    if "rolloutBucketBy" in instruction:
        rollout["bucketBy"] = text(instruction, "rolloutBucketBy", "key")
    return {"rollout": rollout}


def listed(draft: Draft, name: str) -> list[Json]:
    """One of the flag's lists, as a copy."""
    return list(draft.flag.get(name) or [])


def index_of(draft: Draft, id_: object) -> int:
    """The variation with an id. Raises Refusal 400."""
    for index, variation in enumerate(draft.record["variations"]):
        if variation["_id"] == id_:
            return index
    raise invalid(f"there is no variation with the id {id_!r}")


def _check_sum(weights: Sequence[object]) -> None:
    if any(type(weight) is not int or weight < 0 for weight in weights):
        raise invalid("weights must be whole numbers from 0 on, in thousandths of a percent")
    if sum(weight for weight in weights if isinstance(weight, int)) != WHOLE:
        raise invalid(f"weights must sum to {WHOLE}")


def check_index(index: object, variations: int) -> None:
    """Raise Refusal 400 unless there is such a variation."""
    if type(index) is not int or not 0 <= index < variations:
        raise invalid(f"there is no variation {index!r}")


def text(instruction: Instruction, name: str, fallback: str) -> str:
    """A text of an instruction. Raises Refusal 400."""
    value = instruction.get(name, fallback)
    if not isinstance(value, str) or not value:
        raise invalid(f"{name} must be a text")
    return value
