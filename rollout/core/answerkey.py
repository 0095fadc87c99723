"""What an answer depends on, as the key under which it is kept: nothing else may be answered from the cache.

A key that forgets the adapter gives the candidate the champion's answers, and the gate a difference of zero.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from rollout.core.manifest import Base
from rollout.core.suite import Item


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerKeys:
    """Keys of one engine on one base with one way of generating."""

    base: Base
    engine: Mapping[str, object]
    max_tokens: int
    temperature: float

    def answer(self, item: Item, *, identity: str | None, seed: int, copy: int = 0) -> str:
        """The key of a generated answer. `identity` is the adapter's, None for the base; `seed` is the request's.

        `copy` tells two sides apart that are the same adapter: each gives answers of its own.
        """
        return self._digest({"kind": "answer", "seed": seed, "copy": copy} | _prompt(item), identity)

    def likelihood(self, item: Item, continuation: str, *, identity: str | None, copy: int = 0) -> str:
        """The key of a fixed answer that was read."""
        asked = {"kind": "likelihood", "continuation": continuation, "copy": copy}
        return self._digest(asked | _prompt(item), identity)

    def _digest(self, asked: Mapping[str, object], identity: str | None) -> str:
        facts = {
            **asked,
            "identity": identity,
            "base": self.base.model_dump(mode="json"),
            "engine": dict(self.engine),
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _prompt(item: Item) -> dict[str, object]:
    return {"messages": [[turn.role, turn.content] for turn in item.messages], "prompt": item.prompt}
