"""Approval requests, scheduled changes and LaunchDarkly's own releases of a flag, over REST."""

from __future__ import annotations

import uuid
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rollout.flagserver import plans, shown
from rollout.flagserver.book import Book, Json
from rollout.flagserver.desk import Desk, read_object, require_flag, text_of
from rollout.flagserver.keeping import now_ms
from rollout.flagserver.refusal import Refusal
from rollout.flagserver.revising import conflicts

_FLAG = "/api/v2/projects/{project}/flags/{flag}/environments/{environment}"


class PlanPages:
    """`/api/v2/projects/.../flags/.../environments/.../...`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[Route]:
        """The routes."""
        requests, changes = f"{_FLAG}/approval-requests", f"{_FLAG}/scheduled-changes"
        return [
            Route(requests, self.approvals, methods=["GET"]),
            Route(requests, self.ask, methods=["POST"]),
            Route(f"{requests}/{{id}}", self.approval, methods=["GET"]),
            Route(f"{requests}/{{id}}", self.withdraw, methods=["DELETE"]),
            Route(f"{requests}/{{id}}/reviews", self.review, methods=["POST"]),
            Route(f"{requests}/{{id}}/apply", self.apply, methods=["POST"]),
            Route(changes, self.scheduled, methods=["GET"]),
            Route(changes, self.schedule, methods=["POST"]),
            Route(f"{changes}/{{id}}", self.change, methods=["GET"]),
            Route(f"{changes}/{{id}}", self.unschedule, methods=["DELETE"]),
            Route(f"{_FLAG}/releases", self.releases, methods=["GET"]),
        ]

    async def approvals(self, request: Request) -> Response:
        """All requests for a flag."""
        self._desk.admit(request)
        key, book = self._desk.flag(request)
        items = [self._approval(book, one) for one in book.approvals if one["flag"] == key]
        return JSONResponse({"items": items, "_links": self._links(key, "approval-requests")})

    async def ask(self, request: Request) -> Response:
        """A new request."""
        token = self._desk.admit(request)
        key, _ = self._desk.flag(request)
        body = await read_object(request)

        def act(book: Book) -> Json:
            require_flag(book, key)
            return self._approval(book, plans.request_approval(book, key, body, token))

        return JSONResponse(await self._desk.change(act), status_code=201)

    async def approval(self, request: Request) -> Response:
        """One request."""
        self._desk.admit(request)
        key, book = self._desk.flag(request)
        return JSONResponse(self._approval(book, plans.find(book.approvals, key, request.path_params["id"])))

    async def withdraw(self, request: Request) -> Response:
        """The request is gone."""
        self._desk.admit(request)
        key, _ = self._desk.flag(request)

        def act(book: Book) -> None:
            gone = plans.find(book.approvals, key, request.path_params["id"])
            book.approvals = [one for one in book.approvals if one is not gone]

        await self._desk.change(act)
        return Response(status_code=204)

    async def review(self, request: Request) -> Response:
        """Approve, decline or comment."""
        token, body = self._desk.admit(request), await read_object(request)
        return await self._on_approval(request, lambda book, one: plans.review(book, one, body, token))

    async def apply(self, request: Request) -> Response:
        """Carry an approved request out."""
        token, body = self._desk.admit(request), await read_object(request)
        comment = text_of(body, "comment")
        return await self._on_approval(request, lambda book, one: plans.apply(book, one, token, comment))

    async def scheduled(self, request: Request) -> Response:
        """What is scheduled for a flag."""
        self._desk.admit(request)
        key, book = self._desk.flag(request)
        items = [self._change(book, one) for one in book.scheduled if one["flag"] == key]
        return JSONResponse({"items": items, "_links": self._links(key, "scheduled-changes")})

    async def schedule(self, request: Request) -> Response:
        """A change at a time to come."""
        token = self._desk.admit(request)
        key, _ = self._desk.flag(request)
        body = await read_object(request)

        def act(book: Book) -> Json:
            require_flag(book, key)
            return self._change(book, plans.schedule(book, key, body, token))

        return JSONResponse(await self._desk.change(act), status_code=201)

    async def change(self, request: Request) -> Response:
        """One scheduled change."""
        self._desk.admit(request)
        key, book = self._desk.flag(request)
        return JSONResponse(self._change(book, plans.find(book.scheduled, key, request.path_params["id"])))

    async def unschedule(self, request: Request) -> Response:
        """The scheduled change is gone."""
        self._desk.admit(request)
        key, _ = self._desk.flag(request)

        def act(book: Book) -> None:
            gone = plans.find(book.scheduled, key, request.path_params["id"])
            book.scheduled = [one for one in book.scheduled if one is not gone]

        await self._desk.change(act)
        return Response(status_code=204)

    async def releases(self, request: Request) -> Response:
        """LaunchDarkly's own releases: none here, but for the fault. Beta: refused without its version."""
        self._desk.admit(request)
        if request.headers.get("ld-api-version") != "beta":
            raise Refusal(403, "This is a beta resource: send LD-API-Version: beta.")
        key, book = self._desk.flag(request)
        active = self._desk.faults.take(("active-release",), write=False)
        items = [self._release(book, key)] if active else []
        return JSONResponse(
            {"items": items, "totalCount": len(items), "_links": self._links(key, "releases")}
        )

    async def _on_approval(self, request: Request, act: Callable[[Book, Json], None]) -> Response:
        key, _ = self._desk.flag(request)

        def on_it(book: Book) -> Json:
            one = plans.find(book.approvals, key, request.path_params["id"])
            act(book, one)
            return self._approval(book, one)

        return JSONResponse(await self._desk.change(on_it))

    def _approval(self, book: Book, one: Json) -> Json:
        waiting = one["status"] in ("pending", "scheduled") and book.flag(one["flag"]) is not None
        shown_: Json = {
            "_id": one["id"],
            "_version": one["version"],
            "creationDate": one["at"],
            "serviceKind": "launchdarkly",
            "requestorId": one["by"],
            "description": one["description"],
            "reviewStatus": one["reviewStatus"],
            "allReviews": [_review(said) for said in one["reviews"]],
            "notifyMemberIds": one["notifyMemberIds"],
            "notifyTeamKeys": one["notifyTeamKeys"],
            "status": one["status"],
            "instructions": one["instructions"],
            "conflicts": conflicts(book, one["flag"], one["instructions"]) if waiting else [],
            "_links": self._links(one["flag"], f"approval-requests/{one['id']}"),
        }
        if one["executionDate"] is not None:
            shown_["executionDate"] = one["executionDate"]
        if "appliedDate" in one:
            shown_ |= {"appliedDate": one["appliedDate"], "appliedByServiceTokenId": one["appliedBy"]}
        return shown_

    def _change(self, book: Book, one: Json) -> Json:
        return {
            "_id": one["id"],
            "_creationDate": one["at"],
            "_maintainerId": one["by"],
            "_maintainerServiceTokenId": one["by"],
            "_version": one["version"],
            "executionDate": one["executionDate"],
            "instructions": one["instructions"],
            "conflicts": conflicts(book, one["flag"], one["instructions"]),
            "_links": self._links(one["flag"], f"scheduled-changes/{one['id']}"),
        }

    def _release(self, book: Book, key: str) -> Json:
        record, flag = book.record(key), book.flag(key)
        assert flag is not None
        ids = [each["_id"] for each in record["variations"]]
        id_, at = str(uuid.uuid5(uuid.NAMESPACE_URL, key)), now_ms()
        steps: list[Json] = [{"stepIndex": 0, "allocation": 5000, "durationMillis": 3_600_000}]
        phase: Json = {"id": id_, "phaseIndex": 0, "status": "in_progress", "ruleId": None, "steps": steps}
        return {
            "id": id_,
            "status": "in_progress",
            "projectKey": self._desk.scope.project,
            "environmentKey": self._desk.scope.environment,
            "flagKey": key,
            "originalVariationId": ids[0],
            "originalVariationValue": flag["variations"][0],
            "targetVariationId": ids[1],
            "targetVariationValue": flag["variations"][1],
            "randomizationUnit": "user",
            "cleanupBehavior": "remove_rules_and_update_default_rule",
            "kind": "progressive",
            "metrics": [],
            "phases": [{**phase, "currentStepIndex": 0, "metricStatuses": {}}],
            "currentPhaseIndex": 0,
            "advancementMode": "manual",
            "createdAt": at,
        }

    def _links(self, key: str, part: str) -> Json:
        return {"self": shown.link(self._desk.scope.within_flag(key, part))}


def _review(said: Json) -> Json:
    review = {"_id": said["id"], "kind": said["kind"], "creationDate": said["at"], "comment": said["comment"]}
    return {**review, "serviceTokenId": said["by"]}
