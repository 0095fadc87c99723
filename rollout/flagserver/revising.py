"""One change of one flag: all of it or nothing, one version more, one entry in the audit log."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from rollout.core.flagmodel import MARK
from rollout.flagserver.access import AccessToken
from rollout.flagserver.book import Book, Json, entry, sdk_form, stamp, version_after
from rollout.flagserver.draft import Draft
from rollout.flagserver.instructions import carry_out
from rollout.flagserver.keeping import now_ms
from rollout.flagserver.refusal import Refusal, invalid
from rollout.flagserver.shown import approval_settings

_ACTIONS: Final = {
    "turnFlagOn": "updateOn",
    "turnFlagOff": "updateOn",
    "updateFallthroughVariationOrRollout": "updateFallthrough",
    "updateOffVariation": "updateOffVariation",
    "addTargets": "updateTargets",
    "removeTargets": "updateTargets",
    "replaceTargets": "updateTargets",
    "clearTargets": "updateTargets",
    "addPrerequisite": "updatePrerequisites",
    "removePrerequisite": "updatePrerequisites",
    "addVariation": "updateFlagVariations",
    "archiveFlag": "updateGlobalArchived",
    "restoreFlag": "updateGlobalArchived",
}
_LONGEST_COMMENT: Final = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """What is to be done to a flag, by whom and why. `act` raises Refusal for what cannot be."""

    act: Callable[[Draft], None]
    token: AccessToken
    comment: str
    kinds: tuple[str, ...]
    ignores_conflicts: bool = False

    @classmethod
    def semantic(
        cls, instructions: Any, *, token: AccessToken, comment: str, ignores_conflicts: bool = False
    ) -> Revision:
        """A semantic patch."""
        listed = instructions if isinstance(instructions, list) else []
        kinds = tuple(str(one.get("kind")) for one in listed if isinstance(one, dict))
        return cls(
            act=lambda draft: carry_out(draft, instructions),
            token=token,
            comment=comment,
            kinds=kinds,
            ignores_conflicts=ignores_conflicts,
        )


def draft_of(book: Book, key: str) -> Draft:
    """A copy of a flag to work on."""
    return Draft(copy.deepcopy(book.flag(key) or {}), copy.deepcopy(book.record(key)), book)


def needs_approval(book: Book, key: str, token: AccessToken) -> bool:
    """Whether the token may not change this flag on its own."""
    settings = approval_settings(book)
    tags = settings["requiredApprovalTags"]
    tagged = not tags or bool(set(tags) & set(book.record(key)["tags"]))
    return bool(settings["required"]) and tagged and not token.bypasses


def revise(book: Book, key: str, revision: Revision) -> bool:
    """Carry it out; the answer is whether anything changed. Raises Refusal, and then the book is worth nothing."""
    if len(revision.comment) > _LONGEST_COMMENT:
        raise invalid(f"A comment has at most {_LONGEST_COMMENT} characters.")
    draft = draft_of(book, key)
    revision.act(draft)
    before = draft_of(book, key)
    was_archived = key in book.archived
    archived = bool(draft.record.pop("archived", was_archived))
    if draft == before and archived == was_archived:
        return False
    if not revision.ignores_conflicts:
        _keep_what_is_planned(book, key, draft)
    _put(book, key, draft, revision, archived=archived)
    return True


def broken_by(book: Book, key: str, draft: Draft) -> list[Json]:
    """What is planned for a flag, could be done now and no longer could after the draft."""
    return [
        plan
        for plan in planned(book, key)
        if _why_not(draft_of(book, key), plan) is None and _why_not(draft, plan)
    ]


def planned(book: Book, key: str) -> Iterator[Json]:
    """What somebody wants to do to a flag later."""
    waiting = ("pending", "scheduled")
    yield from (one for one in book.approvals if one["flag"] == key and one["status"] in waiting)
    yield from (one for one in book.scheduled if one["flag"] == key)


def conflicts(book: Book, key: str, instructions: list[Json]) -> list[Json]:
    """What of these instructions cannot be done now, each with the reason."""
    found = []
    for instruction in instructions:
        reason = _why_not(draft_of(book, key), {"instructions": [instruction]})
        if reason is not None:
            found.append({"instruction": instruction, "reason": reason})
    return found


def _why_not(draft: Draft, plan: Json) -> str | None:
    try:
        trial = Draft(copy.deepcopy(draft.flag), copy.deepcopy(draft.record), draft.book)
        carry_out(trial, plan["instructions"])
    except Refusal as error:
        return error.message
    return None


def _keep_what_is_planned(book: Book, key: str, draft: Draft) -> None:
    broken = broken_by(book, key, draft)
    if broken:
        raise invalid(
            "This change would cause a pending scheduled change or approval request to fail:"
            f" {', '.join(one['id'] for one in broken)}. Use ignoreConflicts to make it all the same."
        )


def _put(book: Book, key: str, draft: Draft, revision: Revision, *, archived: bool) -> None:
    old = book.flag(key)
    was_archived = key in book.archived
    assert old is not None
    at = now_ms()
    moved = sdk_form(draft.flag) != sdk_form(old) or archived != was_archived
    draft.flag[MARK] = {"by": revision.token.name, "comment": revision.comment, "at": _iso(at)}
    for shelf in (book.flags, book.archived):
        shelf.pop(key, None)
    (book.archived if archived else book.flags)[key] = draft.flag
    if archived and not was_archived:
        draft.record["archivedDate"] = at
    book.records[key] = draft.record
    stamp(book, key, at, version=version_after(old["version"]) if moved else old["version"])
    book.note(
        entry(
            key,
            at,
            by=revision.token.name,
            title=", ".join(revision.kinds) or "changed the flag",
            comment=revision.comment,
            token=revision.token.summary(),
            actions=sorted({_ACTIONS.get(kind, "updateFlag") for kind in revision.kinds}),
            version=draft.flag["version"],
        )
    )


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat()
