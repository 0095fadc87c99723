"""What is known beside the flags: who asks, the environment, who evaluates, what happened."""

from __future__ import annotations

import copy
import re
import uuid
from datetime import UTC, datetime
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rollout.flagserver import jsonpatch, shown
from rollout.flagserver.book import UNKNOWN, Book, Json
from rollout.flagserver.desk import Desk, number_in, read_json
from rollout.flagserver.keeping import now_ms
from rollout.flagserver.refusal import invalid, missing

_WEEK_MS: Final = 7 * 24 * 3600 * 1000
_LONGEST_PAGE: Final = 20


class RecordPages:
    """The rest, most of which is only read."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[Route]:
        """The routes."""
        environment = "/api/v2/projects/{project}/environments/{environment}"
        return [
            Route("/api/v2/caller-identity", self.identity, methods=["GET"]),
            Route(environment, self.environment, methods=["GET"]),
            Route(environment, self.settle_approvals, methods=["PATCH"]),
            Route("/api/v2/flag-statuses/{project}/{environment}/{flag}", self.status, methods=["GET"]),
            Route("/api/v2/auditlog", self.audit, methods=["GET"]),
            Route("/api/v2/auditlog/{id}", self.audited, methods=["GET"]),
        ]

    async def identity(self, request: Request) -> Response:
        """Whom the token belongs to."""
        token = self._desk.admit(request)
        return JSONResponse(shown.identity(self._desk.keeping.book, token))

    async def environment(self, request: Request) -> Response:
        """The environment, with what has to be approved in it."""
        self._desk.admit(request)
        return JSONResponse(shown.environment(self._desk.scope, self._desk.keeping.book))

    async def settle_approvals(self, request: Request) -> Response:
        """A JSON patch of `/approvalSettings/...`; nothing else of an environment can be changed here."""
        self._desk.admit(request)
        operations, _ = jsonpatch.read(await read_json(request))

        def act(book: Book) -> Json:
            book.environment["approvals"] = _approvals(self._desk.scope, book, operations)
            return shown.environment(self._desk.scope, book)

        return JSONResponse(await self._desk.change(act))

    async def status(self, request: Request) -> Response:
        """Whether anybody evaluates a flag."""
        self._desk.admit(request)
        key, book = self._desk.flag(request)
        seen = self._desk.keeping.evaluated(key)
        scope = self._desk.scope
        own = f"/api/v2/flag-statuses/{scope.project}/{scope.environment}/{key}"
        links = {"self": shown.link(own), "parent": shown.link(scope.flag_link(key))}
        status: Json = {"name": _standing(book, key, seen), "_links": links}
        if seen:
            status["lastRequested"] = _iso(seen["at"])
        if "default" in seen:
            status["default"] = seen["default"]
        return JSONResponse(status)

    async def audit(self, request: Request) -> Response:
        """What happened, newest first: `spec`, `q`, `after` and `before` (milliseconds), `limit` 1 to 20."""
        self._desk.admit(request)
        limit = number_in(request, "limit", 10)
        if not 1 <= limit <= _LONGEST_PAGE:
            raise invalid(f"limit must be between 1 and {_LONGEST_PAGE}.")
        after, before = number_in(request, "after", 0), number_in(request, "before", now_ms() + _WEEK_MS)
        wanted = _spec(request.query_params.get("spec") or "proj/*:env/*:flag/*")
        asked = request.query_params.get("q", "").lower()
        items = [
            self._entry(one)
            for one in reversed(self._desk.keeping.book.audit)
            if after < one["at"] < before
            and wanted.fullmatch(self._desk.scope.resource(one["flag"]))
            and asked in f"{one['title']} {one['comment']} {one['flag']}".lower()
        ]
        links = {"self": shown.link("/api/v2/auditlog")}
        return JSONResponse({"items": items[:limit], "_links": links})

    async def audited(self, request: Request) -> Response:
        """One entry of the audit log."""
        self._desk.admit(request)
        for one in self._desk.keeping.book.audit:
            if one["id"] == request.path_params["id"]:
                return JSONResponse(self._entry(one))
        raise missing("audit log entry")

    def _entry(self, one: Json) -> Json:
        resource = self._desk.scope.resource(one["flag"])
        target = shown.link(self._desk.scope.flag_link(one["flag"]))
        entry: Json = {
            "_links": {"self": shown.link(f"/api/v2/auditlog/{one['id']}"), "target": target},
            "_id": one["id"],
            "_accountId": shown.account(self._desk.keeping.book),
            "date": one["at"],
            "accesses": [{"action": action, "resource": resource} for action in one.get("actions", [])],
            "kind": "flag",
            "name": one["flag"],
            "description": one["title"],
            "shortDescription": one["title"],
            "comment": one["comment"],
            "subject": {"name": one["by"]},
            "titleVerb": one["title"],
            "title": f"{one['by']}: {one['title']} ({one['flag']})",
            "target": {"_links": {"canonical": target}, "name": one["flag"], "resources": [resource]},
        }
        if "token" in one:
            entry["token"] = one["token"]
        elif one["by"] != UNKNOWN:
            id_ = uuid.uuid5(uuid.NAMESPACE_URL, f"member/{one['by']}").hex[:24]
            entry["member"] = {"_id": id_, "email" if "@" in one["by"] else "firstName": one["by"]}
        return entry


def _approvals(scope: shown.Scope, book: Book, operations: list[Json]) -> Json:
    before = {**shown.environment(scope, book), "approvalSettings": shown.approval_settings(book)}
    after = copy.deepcopy(before)
    jsonpatch.operate(after, operations)
    settings, known = after.pop("approvalSettings", None), before.pop("approvalSettings")
    if after != before or not isinstance(settings, dict) or settings.keys() != known.keys():
        raise invalid("Only the members of approvalSettings can be changed here.")
    for name, value in settings.items():
        if type(value) is not type(known[name]):
            raise invalid(f"approvalSettings/{name} must be of another kind.")
    if not 1 <= settings["minNumApprovals"] <= 5:
        raise invalid("minNumApprovals must be between 1 and 5.")
    return settings


def _standing(book: Book, key: str, seen: Json) -> str:
    """`new`, `inactive`, `active` or `launched`."""
    flag, record, now = book.flag(key), book.record(key), now_ms()
    assert flag is not None
    if not seen:
        return "new" if now - record["creationDate"] < _WEEK_MS else "inactive"
    if now - seen["at"] > _WEEK_MS:
        return "inactive"
    settled = now - record["lastModified"] > _WEEK_MS and "variation" in flag["fallthrough"]
    return "launched" if settled else "active"


def _spec(text: str) -> re.Pattern[str]:
    """A resource specifier: `*` stands for anything within a part, a comma for one or the other; tags are ignored."""
    parts = [part.partition(";")[0].strip() for part in text[:500].split(",")]
    return re.compile("|".join(re.escape(part).replace(r"\*", "[^:/]*") for part in parts))


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat()
