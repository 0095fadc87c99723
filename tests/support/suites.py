"""Suites in memory, for tests of what reads and scores them."""

from __future__ import annotations

from typing import Any

from rollout.core.answer import Answer
from rollout.core.gatefile import Gates
from rollout.core.suite import Golden, Item, Suite


def item(**changes: Any) -> Item:
    """An item that expects a text, with changes by the field names of the JSONL."""
    given = {"id": "a", "slice": "s", "reference": "the parcel is late", "expect": "text"}
    if "prompt" not in changes:
        given["messages"] = [{"role": "user", "content": "where is it?"}]
    return Item.model_validate(given | changes)


def answer(text: str, *, tokens: int = 7, finish: str = "stop") -> Answer:
    """What somebody said."""
    return Answer(text=text, prompt_tokens=3, completion_tokens=tokens, finish_reason=finish)


def golden(*items: Item, response_schema: dict[str, Any] | None = None, **suite: Any) -> Golden:
    """A suite of these items, with changes to its document."""
    given = {
        "schema": "adapter-rollout/suite/v1",
        "name": "s",
        "items": "s.jsonl",
        "max_tokens": 64,
        "gates": "g",
    }
    return Golden(
        suite=Suite.model_validate(given | suite),
        items=items,
        response_schema=response_schema,
        gates=Gates.model_validate({"gates": {"rouge_l": {"min": 0.1}}}),
        suite_digest="0" * 64,
        gates_digest="1" * 64,
    )
