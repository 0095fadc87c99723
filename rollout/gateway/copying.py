"""What a shadow copy is: the same question without anything that has effects, and which questions have no such copy."""

from __future__ import annotations

import asyncio

from rollout.core.environment import MirrorSettings
from rollout.core.metric import NotCopied
from rollout.gateway.openai import Headers, InferenceRequest, Message, for_upstream

SHADOW = b"x-rollout-shadow"
"""Marks copies, for whoever looks at them on their way; a request that bears it is not copied again."""

_WITH_EFFECTS = ("store", "web_search_options", "kv_transfer_params")
_OF_TOOLS = frozenset({"tool", "function"})
_OPTIONAL = frozenset({"auto", "none"})
# A copy with the same key would be answered from memory, or refused, by whatever keeps the promise of that key.
_OF_THE_ORIGINAL = frozenset({b"idempotency-key", b"x-request-id", SHADOW})
_LIMITS = ("max_completion_tokens", "max_tokens")


def why_no_copy(request: InferenceRequest) -> NotCopied | None:
    """Why a copy of this request would have effects, or would be another question without its tools."""
    # A server would fetch an address once more, and one that works once only would fail the copy.
    if any(request.holds(name) for name in _WITH_EFFECTS) or request.names_urls():
        return NotCopied.EFFECTS
    if _requires_tools(request) or _answers_tools(request):
        return NotCopied.TOOLS
    return None


def body_of_copy(request: InferenceRequest, served: str, settings: MirrorSettings) -> bytes:
    """The body of the copy for one served adapter."""
    changes: dict[str, int] = {}
    if settings.max_tokens is not None:
        changes |= _limited(request, settings.max_tokens)
    if settings.priority is not None:
        changes["priority"] = settings.priority
    return request.as_copy(served, **changes)


def headers_of_copy(headers: Headers, length: int) -> Headers:
    """Request headers for the body of a copy, of `length` bytes."""
    kept = [(key, value) for key, value in for_upstream(headers, length) if key not in _OF_THE_ORIGINAL]
    return [*kept, (SHADOW, b"1")]


async def no_departure() -> Message:
    """What the client of a copy says: it never leaves."""
    await asyncio.Event().wait()
    raise AssertionError


async def to_nobody(message: Message) -> None:
    """A copy's answer is read on its way and given to nobody."""


def _requires_tools(request: InferenceRequest) -> bool:
    return any(
        request.holds(name) and request.text(name) not in _OPTIONAL
        for name in ("tool_choice", "function_call")
    )


def _answers_tools(request: InferenceRequest) -> bool:
    # Bodies may be large; most do not even hold the word.
    return any(b'"%s"' % role.encode() in request.body for role in _OF_TOOLS) and bool(
        request.roles() & _OF_TOOLS
    )


def _limited(request: InferenceRequest, most: int) -> dict[str, int]:
    """The request's own limit under the name that it has there, never above `most`."""
    name = next((name for name in _LIMITS if request.holds(name)), _LIMITS[-1])
    asked = request.text(name) or ""
    return {name: min(int(asked), most) if asked.isascii() and asked.isdigit() else most}
