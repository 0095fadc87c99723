"""A human who fills in the blanks of a draft."""

from __future__ import annotations

from pathlib import Path

from rollout.core.blanks import blanks
from rollout.core.document import Pointer, read_pointer
from rollout.integrations.documents import edit
from rollout.integrations.documents.yaml import parse

ANSWERS: dict[Pointer, str | int | float] = {
    read_pointer(pointer): value
    for pointer, value in {
        "/use_case": "support",
        "/task": "triage",
        "/lineage/dataset/name": "tickets",
        "/lineage/dataset/sha256": "3" * 63 + "a",
        "/lineage/training_commit": "4" * 39 + "a",
        "/lineage/inference_code": "1.0",
        "/data/examples": 1000,
        "/data/duplicates": 0.01,
        "/data/personal_data": 0,
        "/data/license": "LicenseRef-internal",
        "/data/language": "en",
        "/data/language_share": 0.99,
        "/data/instruction_tokens/min": 10,
        "/data/instruction_tokens/max": 500,
        "/data/output_tokens/min": 5,
        "/data/output_tokens/max": 200,
        "/data/evaluation_overlap": 0,
        "/risk/tier": "low",
        "/risk/data_fresh_until": "2099-01-01",
        "/risk/license": "Apache-2.0",
        "/owner/escalation": "#support-oncall",
        "/owner/review_every_days": 90,
        "/change/purpose": "Answers tickets.",
    }.items()
}
"""What only a human knows of the demo's adapter, or of one of `tests.support.adapters`."""


def blanks_of(content: bytes) -> dict[Pointer, str]:
    """The blanks of a draft, and what is wanted there."""
    return {blank.pointer: blank.wanted for blank in blanks(parse(content, "draft").data)}


def fill(path: Path, answers: dict[Pointer, str | int | float] = ANSWERS) -> None:
    """Write the answers into the blanks that a manifest has."""
    content = path.read_bytes()
    path.write_bytes(edit(content, {each: answers[each] for each in blanks_of(content)}))
