"""Who asks: the sticky key and the conversation of a request, from the sources that an environment names."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence

import msgspec

from rollout.core.environment import ContextKey
from rollout.gateway.openai import Headers, InferenceRequest, header

_LARGEST_KEY = 256
_SHORTEST_CONVERSATION = 8
"""Shorter ids are numbers that an application counts for each user anew: not one conversation, but many."""
_LARGEST_TOKEN = 16 * 1024
_Source = Callable[[Headers, InferenceRequest], str | None]


class ContextKeys:
    """Finds the sticky key of a request, or of the conversation that it belongs to.

    A conversation keeps the key that its first request had here, so that it changes version when that key does
    and never because another user, or nobody, is named in the middle of it. The latest `remembered` ones are
    known.
    """

    def __init__(self, context_key: ContextKey, *, remembered: int = 100_000) -> None:
        self._sources = [_source(text) for text in context_key.sources]
        self._conversation = [_source(text) for text in context_key.conversation]
        self._first_keys: OrderedDict[bytes, str] = OrderedDict()
        self._remembered = remembered

    def find(self, name: str, headers: Headers, request: InferenceRequest) -> tuple[str | None, str | None]:
        """(sticky key, conversation) of a request to the logical model `name`; None for what it does not tell."""
        key = _first(self._sources, headers, request)
        conversation = _first(self._conversation, headers, request)
        if conversation is None or len(conversation) < _SHORTEST_CONVERSATION:
            return key, None
        place = hashlib.sha256(f"{name}\0{conversation}".encode("utf-8", "surrogatepass")).digest()
        kept = self._first_keys.get(place)
        if kept is None:
            kept = self._first_keys[place] = conversation if key is None else key
            if len(self._first_keys) > self._remembered:
                self._first_keys.popitem(last=False)
        else:
            self._first_keys.move_to_end(place)
        return kept, conversation


def _first(sources: Sequence[_Source], headers: Headers, request: InferenceRequest) -> str | None:
    for source in sources:
        value = source(headers, request)
        if value and len(value) <= _LARGEST_KEY:
            return value
    return None


def _source(text: str) -> _Source:
    kind, _, where = text.partition(":")
    if kind == "header":
        name = where.lower().encode("latin-1")
        return lambda headers, _: header(headers, name)
    if kind == "body":
        path = where.split(".")
        return lambda _, request: request.text(*path)
    claim, _, carrier = where.partition("@")
    carrying = (carrier or "authorization").lower().encode("latin-1")
    return lambda headers, _: _claim(header(headers, carrying), claim)


def _claim(token: str | None, claim: str) -> str | None:
    """A claim of a JWT whose signature nobody checks here: it may choose a bucket and must decide nothing else."""
    if token is None or len(token) > _LARGEST_TOKEN:
        return None
    parts = token.removeprefix("Bearer ").removeprefix("bearer ").strip().split(".")
    if len(parts) != 3:
        return None
    try:
        content = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        value = msgspec.json.decode(content)
    except (binascii.Error, ValueError, msgspec.DecodeError, RecursionError):
        return None
    found = value.get(claim) if isinstance(value, dict) else None
    if isinstance(found, int) and not isinstance(found, bool):
        return str(found)
    return found.strip() or None if isinstance(found, str) else None
