"""Judges for tests: real servers that speak chat completions and decide by a rule."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

Rule = Callable[[dict[str, str]], str]
"""(prompt, reference, answer a, answer b as shown) -> the reply's text."""

_SHOWN = re.compile(
    r"=== (?P<name>[A-Z ]+) (?P<mark>[0-9a-f]{20}) ===\n(?P<text>.*)\n=== END OF (?P=name) (?P=mark) ==="
)


@dataclass
class JudgeServer:
    """Answers by `rule`; the first requests get the statuses of `refuse`, where 200 is an answer."""

    rule: Rule
    refuse: list[int] = field(default_factory=list)
    retry_after: str | None = None
    delay_s: float = 0.0
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0

    @property
    def app(self) -> Starlette:
        return Starlette(routes=[Route("/v1/chat/completions", self._answer, methods=["POST"])])

    async def _answer(self, request: Request) -> Response:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.delay_s)
            return await self._reply(request)
        finally:
            self.at_once -= 1

    async def _reply(self, request: Request) -> Response:
        body = json.loads(await request.body())
        self.requests.append(body)
        self.headers.append(dict(request.headers))
        if self.refuse and (status := self.refuse.pop(0)) != 200:
            waits = {} if self.retry_after is None else {"Retry-After": self.retry_after}
            return JSONResponse({"error": "no"}, status, headers=waits)
        content = self.rule(shown(body["messages"]))
        return JSONResponse({"choices": [{"message": {"role": "assistant", "content": content}}]})


def shown(messages: list[dict[str, str]]) -> dict[str, str]:
    """What a judge sees between the fences, by name."""
    return {each["name"]: json.loads(each["text"]) for each in _SHOWN.finditer(messages[-1]["content"])}


def prefers(word: str) -> Rule:
    """The answer that holds the word wins, wherever it stands."""

    def rule(seen: dict[str, str]) -> str:
        a, b = (word in seen[f"ANSWER {place}"] for place in "AB")
        return json.dumps({"winner": "TIE" if a == b else "A" if a else "B"})

    return rule
