"""Who changed a flag: signed in the comment of each write of ours, read from the audit log."""

from __future__ import annotations

import re

from pydantic import JsonValue

from rollout.errors import RolloutError
from rollout.integrations.launchdarkly.client import Conversation, Question
from rollout.integrations.launchdarkly.place import Place

UNKNOWN = "unknown"
_SIGNED = re.compile(r"\(by (.{1,200}), adapter-rollout\)$", re.DOTALL)
_LONGEST_COMMENT, _LONGEST_NAME = 500, 200
_LOOKED_AT = 10
_PATIENCE_S = 3.0


def signed(comment: str, by: str) -> str:
    """The comment of a write: what the caller says of it, and a signature that `author_of` reads back."""
    return f"{_line(comment, _LONGEST_COMMENT)} (by {_line(by, _LONGEST_NAME) or UNKNOWN}, adapter-rollout)".strip()


class Authors:
    """The audit log of a place, as far as it says who changed a flag; and what we know without asking."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._known: dict[str, tuple[int, str]] = {}

    def remember(self, key: str, version: int, note: str) -> None:
        """That we made a version with this comment."""
        self._known[key] = (version, author_of({"comment": note}))

    def remembered(self, key: str, version: int) -> str:
        """Who made this version, as far as we know without asking."""
        known, by = self._known.get(key, (0, UNKNOWN))
        return by if known == version else UNKNOWN

    def of(self, talk: Conversation, key: str, version: int) -> str:
        """Who made this version, which is the last one. `unknown` if that cannot be had: it stops nothing."""
        by = self.remembered(key, version)
        if by == UNKNOWN:
            by = self._asked(talk, key, other_than=None)
            self._known[key] = (version, by)
        return by

    def other_than(self, talk: Conversation, key: str, note: str) -> str:
        """Who changed the flag last in another way than by the write with this comment, or what we did about it."""
        return self._asked(talk, key, other_than=note)

    def _asked(self, talk: Conversation, key: str, *, other_than: str | None) -> str:
        spec = f"proj/{self._place.project}:env/{self._place.environment}:flag/{key}"
        query = {"spec": spec, "limit": str(1 if other_than is None else _LOOKED_AT)}
        try:
            answer = talk.aside(_PATIENCE_S).ask(
                Question(method="GET", path="/api/v2/auditlog", query=query, needs="a view of the audit log")
            )
        except RolloutError:
            return UNKNOWN
        items = answer.body.get("items") if isinstance(answer.body, dict) else None
        entries = [each for each in items if isinstance(each, dict)] if isinstance(items, list) else []
        return next((author_of(each) for each in entries if not _is_of(each, other_than)), UNKNOWN)


def _is_of(entry: dict[str, JsonValue], note: str | None) -> bool:
    comment = entry.get("comment")
    return note is not None and isinstance(comment, str) and note in comment


def author_of(entry: dict[str, JsonValue]) -> str:
    """Who made an entry of the audit log: by our signature, else the member, else the token's name."""
    comment = entry.get("comment")
    if isinstance(comment, str) and (match := _SIGNED.search(comment)):
        return _line(match[1], _LONGEST_NAME) or UNKNOWN
    for part, names in (("member", ("email", "firstName", "_id")), ("token", ("name", "_id"))):
        holder = entry.get(part)
        if isinstance(holder, dict):
            for name in names:
                if isinstance(value := holder.get(name), str) and value:
                    return _line(value, _LONGEST_NAME) or UNKNOWN
    return UNKNOWN


def _line(text: str, longest: int) -> str:
    return " ".join("".join(c for c in text if c.isprintable() or c.isspace()).split())[:longest]
