"""A new flag, as the REST API makes one."""

from __future__ import annotations

import re
import secrets
import uuid
from typing import Any, Final

from rollout.flagserver.access import AccessToken
from rollout.flagserver.book import Book, Json, entry, stamp, version_after
from rollout.flagserver.desk import text_of
from rollout.flagserver.keeping import now_ms
from rollout.flagserver.refusal import Refusal, invalid

_KEY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,255}")
_DEFAULTS: Final = ("onVariation", "offVariation")


def create_flag(book: Book, body: Json, token: AccessToken) -> str:
    """Put a new flag into the book; the answer is its key. Raises Refusal 400, or 409 if there is one."""
    key = text_of(body, "key")
    if not _KEY.fullmatch(key) or not text_of(body, "name"):
        raise invalid("A flag needs a name and a key of letters, digits, `.`, `_` and `-`.")
    if key in book.flags or key in book.archived:
        raise Refusal(409, f"A flag with the key {key} already exists.")
    variations = _variations(body)
    defaults, at = _defaults(body, len(variations)), now_ms()
    book.flags[key] = _flag(key, body, [one["value"] for one in variations], defaults)
    book.records[key] = _record(body, variations, defaults, at)
    stamp(book, key, at, version=version_after(book.gone.get(key, 0)))
    said: Json = {"token": token.summary(), "actions": ["createFlag"], "version": book.flags[key]["version"]}
    book.note(entry(key, at, by=token.name, title="createFlag", comment="", **said))
    return key


def _variations(body: Json) -> list[Json]:
    given = body.get("variations") or [{"value": True}, {"value": False}]
    listed = given if isinstance(given, list) else []
    if len(listed) < 2 or not all(isinstance(one, dict) and "value" in one for one in listed):
        raise invalid("A flag needs at least two variations, each with a value.")
    return listed


def _defaults(body: Json, variations: int) -> dict[str, int]:
    """What a flag serves when it is on and when it is off: the first and the last variation, unless it is said."""
    given = body.get("defaults") or {"onVariation": 0, "offVariation": variations - 1}
    named = {name: given.get(name) for name in _DEFAULTS} if isinstance(given, dict) else {}
    if not named or any(type(index) is not int or not 0 <= index < variations for index in named.values()):
        raise invalid("defaults must name the indices of two variations.")
    return {name: int(str(index)) for name, index in named.items()}


def _flag(key: str, body: Json, values: list[Any], defaults: dict[str, int]) -> Json:
    return {
        "key": key,
        "version": 1,
        "on": body.get("isFlagOn") is True,
        "salt": secrets.token_hex(16),
        "variations": values,
        "offVariation": defaults["offVariation"],
        "fallthrough": {"variation": defaults["onVariation"]},
        "prerequisites": [],
        "targets": [],
        "rules": [],
    }


def _record(body: Json, variations: list[Json], defaults: dict[str, int], at: int) -> Json:
    tags = body.get("tags") or []
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise invalid("tags must be a list of texts.")
    named = [
        {name: str(one[name]) for name in ("name", "description") if one.get(name)}
        | {"_id": str(uuid.uuid4())}
        for one in variations
    ]
    return {
        "name": text_of(body, "name"),
        "description": text_of(body, "description"),
        "tags": sorted(set(tags)),
        "temporary": body.get("temporary") is True,
        "creationDate": at,
        "customProperties": {},
        "defaults": defaults,
        "variations": named,
    }
