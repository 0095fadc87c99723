"""One answer of an adapter, as every scorer sees it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What was said, and why it ended: `finish_reason` is `stop` or `length` (the token limit)."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: str
