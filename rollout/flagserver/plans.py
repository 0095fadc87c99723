"""Changes that wait: for somebody's approval, or for their time."""

from __future__ import annotations

import uuid
from typing import Any, Final

from rollout.flagserver.access import AccessToken
from rollout.flagserver.book import Book, Json
from rollout.flagserver.keeping import now_ms
from rollout.flagserver.refusal import Refusal, invalid, missing
from rollout.flagserver.revising import Revision, conflicts, needs_approval, revise
from rollout.flagserver.shown import approval_settings

_REVIEWS: Final = ("approve", "decline", "comment")
_SCHEDULER: Final = "scheduled change"


def plan(key: str, body: Json, token: AccessToken) -> Json:
    """What a request and a scheduled change have in common. Raises Refusal 400."""
    instructions = body.get("instructions")
    if not isinstance(instructions, list) or not instructions:
        raise invalid("instructions must be a list with at least one instruction")
    comment, execution = body.get("comment") or "", body.get("executionDate")
    if not isinstance(comment, str) or (execution is not None and type(execution) is not int):
        raise invalid("comment must be a text, executionDate a number of milliseconds")
    return {
        "id": uuid.uuid4().hex[:24],
        "flag": key,
        "version": 1,
        "at": now_ms(),
        "by": token.id,
        "comment": comment,
        "instructions": instructions,
        "executionDate": execution,
    }


def request_approval(book: Book, key: str, body: Json, token: AccessToken) -> Json:
    """A new request for approval. Raises Refusal 400 for instructions that cannot be carried out now."""
    if not isinstance(body.get("description"), str) or not body["description"]:
        raise invalid("description is required")
    request = plan(key, body, token)
    _must_be_possible(book, request)
    request |= {
        "description": body["description"],
        "reviewStatus": "pending",
        "status": "pending",
        "reviews": [],
    }
    for name in ("notifyMemberIds", "notifyTeamKeys"):
        given = body.get(name) or []
        request[name] = [each for each in given if isinstance(each, str)] if isinstance(given, list) else []
    book.approvals = [*book.approvals, request]
    return request


def schedule(book: Book, key: str, body: Json, token: AccessToken) -> Json:
    """A change at a time to come. Raises Refusal 400, or 405 where the token would need an approval."""
    change = plan(key, body, token)
    if change["executionDate"] is None or change["executionDate"] <= now_ms():
        raise invalid("executionDate must be a time to come, in milliseconds")
    if needs_approval(book, key, token):
        raise Refusal(405, "Changes to this flag in this environment require an approval.")
    _must_be_possible(book, change)
    book.scheduled = [*book.scheduled, change]
    return change


def find(plans: list[Json], key: str, id_: str) -> Json:
    """One of a flag's plans. Raises Refusal 404."""
    for one in plans:
        if one["flag"] == key and one["id"] == id_:
            return one
    raise missing("approval request or scheduled change")


def review(book: Book, request: Json, body: Json, token: AccessToken) -> None:
    """Approve, decline or comment. The last word of each reviewer counts. Raises Refusal 400, 403."""
    kind, comment = body.get("kind"), body.get("comment") or ""
    if kind not in _REVIEWS or not isinstance(comment, str):
        raise invalid(f"kind must be one of {', '.join(_REVIEWS)}")
    if request["status"] != "pending":
        raise invalid(f"The request is {request['status']}.")
    if kind != "comment" and request["by"] == token.id and not approval_settings(book)["canReviewOwnRequest"]:
        raise Refusal(403, "Nobody may review a request of their own here.")
    said = {"id": uuid.uuid4().hex[:24], "kind": kind, "at": now_ms(), "comment": comment, "by": token.id}
    request["reviews"] = [*request["reviews"], said]
    request["reviewStatus"] = _standing(book, request)
    request["version"] += 1


def apply(book: Book, request: Json, token: AccessToken, comment: str) -> None:
    """Carry an approved request out, now or at its time. Raises Refusal 400, 403.

    Which status LaunchDarkly gives to a request that nobody approved is not documented; 403 is what it means.
    """
    declined = request["reviewStatus"] == "declined" and approval_settings(book)["canApplyDeclinedChanges"]
    if request["status"] != "pending":
        raise invalid(f"The request is {request['status']}.")
    if request["reviewStatus"] != "approved" and not declined:
        raise Refusal(403, f"The request is not approved: {request['reviewStatus']}.")
    request |= {"appliedDate": now_ms(), "appliedBy": token.id, "version": request["version"] + 1}
    if (request["executionDate"] or 0) > now_ms():
        request["status"] = "scheduled"
        return
    _must_be_possible(book, request)
    request["status"] = "completed"
    _carry_out(book, request, token, comment or request["comment"] or request["description"])


def due(book: Book) -> list[Json]:
    """Plans whose time has come."""
    waiting = [one for one in book.approvals if one["status"] == "scheduled"]
    return [one for one in [*waiting, *book.scheduled] if one["executionDate"] <= now_ms()]


def carry_out_due(book: Book) -> None:
    """Carry out the plans whose time has come; one that cannot be is dropped."""
    scheduler = AccessToken(secret=uuid.uuid4().hex, name=_SCHEDULER)
    for one in due(book):
        book.scheduled = [other for other in book.scheduled if other is not one]
        possible = book.flag(one["flag"]) is not None and not conflicts(
            book, one["flag"], one["instructions"]
        )
        if "status" in one:
            one["status"] = "completed" if possible else "failed"
        if possible:
            _carry_out(book, one, scheduler, one["comment"])


def _carry_out(book: Book, one: Json, token: AccessToken, comment: str) -> None:
    revision = Revision.semantic(one["instructions"], token=token, comment=comment, ignores_conflicts=True)
    revise(book, one["flag"], revision)


def _standing(book: Book, request: Json) -> str:
    last: dict[str, str] = {one["by"]: one["kind"] for one in request["reviews"] if one["kind"] != "comment"}
    words: list[Any] = list(last.values())
    if "decline" in words:
        return "declined"
    return "approved" if words.count("approve") >= approval_settings(book)["minNumApprovals"] else "pending"


def _must_be_possible(book: Book, one: Json) -> None:
    found = conflicts(book, one["flag"], one["instructions"])
    if found:
        raise invalid(f"This cannot be carried out: {found[0]['reason']}")
