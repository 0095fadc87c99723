"""The flags over REST: list, create, read, change, delete."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rollout.flagserver import jsonpatch, shown
from rollout.flagserver.access import AccessToken
from rollout.flagserver.book import Book, Json, entry, stamp, version_after
from rollout.flagserver.creating import create_flag
from rollout.flagserver.desk import Desk, is_true, number_in, read_json, read_object, require_flag, text_of
from rollout.flagserver.draft import Draft
from rollout.flagserver.faults import WHILE_WRITING
from rollout.flagserver.instructions import needs_environment
from rollout.flagserver.keeping import now_ms
from rollout.flagserver.refusal import Refusal, invalid, missing
from rollout.flagserver.revising import Revision, needs_approval, revise

_SEMANTIC: Final = "domain-model=launchdarkly.semanticpatch"
_PAGE: Final = 20
_STRANGER: Final = AccessToken(secret=secrets.token_hex(16), name="somebody else")


class FlagPages:
    """`/api/v2/flags/...`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[Route]:
        """The routes."""
        one = "/api/v2/flags/{project}/{flag}"
        return [
            Route("/api/v2/flags/{project}", self.list, methods=["GET"]),
            Route("/api/v2/flags/{project}", self.create, methods=["POST"]),
            Route(one, self.read, methods=["GET"]),
            Route(one, self.patch, methods=["PATCH"]),
            Route(one, self.delete, methods=["DELETE"]),
        ]

    async def list(self, request: Request) -> Response:
        """A page of flags; what an environment says only with `filterEnv`, as since version 20240415 of the API."""
        self._desk.admit(request)
        book, asked = self._desk.keeping.book, _filters(request)
        archived = asked.get("state") == "archived"
        keys = [
            key for key in sorted(book.archived if archived else book.flags) if _matches(book, key, asked)
        ]
        start = number_in(request, "offset", 0)
        page = keys[start : start + min(number_in(request, "limit", _PAGE), 100)]
        environments = asked.get("filterEnv") == self._desk.scope.environment
        return JSONResponse(shown.flags(self._desk.scope, book, page, len(keys), environments=environments))

    async def create(self, request: Request) -> Response:
        """A new flag, off."""
        token, body = self._desk.admit(request), await read_object(request)

        def act(book: Book) -> Json:
            return shown.flag(self._desk.scope, book, create_flag(book, body, token))

        return JSONResponse(await self._desk.change(act), status_code=201)

    async def read(self, request: Request) -> Response:
        """One flag; with `expand=evaluation` also the kinds of contexts that it was evaluated for."""
        self._desk.admit(request)
        key, book = self._desk.flag(request)
        self._check_env(request)
        expands = "evaluation" in request.query_params.get("expand", "").split(",")
        evaluation = self._desk.keeping.evaluated(key) if expands else None
        return JSONResponse(shown.flag(self._desk.scope, book, key, evaluation=evaluation))

    async def delete(self, request: Request) -> Response:
        """The flag is gone; a new one of its name begins above its version."""
        token = self._desk.admit(request)
        key, _ = self._desk.flag(request)

        def act(book: Book) -> None:
            require_flag(book, key)
            if needs_approval(book, key, token):
                raise _approval_required()
            book.gone[key] = version_after((book.flag(key) or {})["version"])
            for shelf in (book.flags, book.archived, book.records):
                shelf.pop(key, None)
            book.approvals = [one for one in book.approvals if one["flag"] != key]
            book.scheduled = [one for one in book.scheduled if one["flag"] != key]
            said = {"token": token.summary(), "actions": ["deleteFlag"]}
            book.note(entry(key, now_ms(), by=token.name, title="deleteFlag", comment="", **said))

        await self._desk.change(act)
        return Response(status_code=204)

    async def patch(self, request: Request) -> Response:
        """A semantic patch, or a JSON patch, by the content type alone."""
        token = self._desk.admit(request)
        key, _ = self._desk.flag(request)
        body = await read_json(request)
        media = request.headers.get("content-type", "")
        semantic = _SEMANTIC in media.replace(" ", "")
        revision = self._semantic(body, token, request) if semantic else self._json_patch(body, key, token)

        def act(book: Book) -> Json:
            require_flag(book, key)
            # Whether a preview needs an approval is not documented; here it does not, for it changes nothing.
            if needs_approval(book, key, token) and not is_true(request, "dryRun"):
                raise _approval_required()
            revise(book, key, revision)
            return shown.flag(self._desk.scope, book, key)

        if is_true(request, "dryRun"):
            reverses = self._desk.faults.take(("reversed-weights",)) is not None
            shown_ = self._desk.keeping.rehearse(self._reversing(act, key) if reverses else act)
            return JSONResponse(shown_)
        return JSONResponse(await self._carry_out(act, key))

    async def _carry_out(self, act: Callable[[Book], Json], key: str) -> Json:
        fault = self._desk.faults.take(WHILE_WRITING)
        match fault.name if fault else None:
            case "lost-write":
                return self._desk.keeping.rehearse(act)
            case "foreign-write":
                await self._desk.change(lambda book: revise(book, key, _foreign()))
            case "reversed-weights":
                return await self._desk.change(self._reversing(act, key))
        return await self._desk.change(act)

    def _reversing(self, act: Callable[[Book], Json], key: str) -> Callable[[Book], Json]:
        return lambda book: (act(book), self._reverse(book, key))[1]

    def _reverse(self, book: Book, key: str) -> Json:
        flag = book.flag(key) or {}
        rollout = flag["fallthrough"].get("rollout")
        if rollout:
            rollout["variations"] = rollout["variations"][::-1]
            stamp(book, key, now_ms(), version=flag["version"])
        return shown.flag(self._desk.scope, book, key)

    def _semantic(self, body: Any, token: AccessToken, request: Request) -> Revision:
        if not isinstance(body, dict):
            raise invalid("A semantic patch is an object.")
        instructions = body.get("instructions")
        named = body.get("environmentKey")
        if named is None and needs_environment(instructions):
            raise invalid("environmentKey is required for these instructions.")
        if named is not None and named != self._desk.scope.environment:
            raise missing("environment key")
        return Revision.semantic(
            instructions,
            token=token,
            comment=text_of(body, "comment"),
            ignores_conflicts=is_true(request, "ignoreConflicts"),
        )

    def _json_patch(self, body: Any, key: str, token: AccessToken) -> Revision:
        scope = self._desk.scope
        operations, comment = jsonpatch.read(body)
        return Revision(
            act=lambda draft: jsonpatch.apply(scope, draft, key, operations),
            token=token,
            comment=comment,
            kinds=("updateFlag",),
        )

    def _check_env(self, request: Request) -> None:
        named = request.query_params.getlist("env")
        if any(one != self._desk.scope.environment for one in named):
            raise missing("environment key")


def _foreign() -> Revision:
    def act(draft: Draft) -> None:
        draft.flag["trackEventsFallthrough"] = not draft.flag.get("trackEventsFallthrough", False)

    return Revision(act=act, token=_STRANGER, comment="by hand", kinds=("updateTrackEventsFallthrough",))


def _approval_required() -> Refusal:
    return Refusal(405, "Changes to this flag in this environment require an approval.")


def _filters(request: Request) -> dict[str, str]:
    """`filter=a:b,c:d`."""
    parts = request.query_params.get("filter", "").split(",")
    return {name: value for name, _, value in (part.partition(":") for part in parts)}


def _matches(book: Book, key: str, asked: dict[str, str]) -> bool:
    if book.flag(key) is None:
        return False
    record = book.record(key)
    tags = [tag for tag in asked.get("tags", "").split("+") if tag]
    query = asked.get("query", "").lower()
    return set(tags) <= set(record["tags"]) and (query in key.lower() or query in record["name"].lower())
