"""The flags over REST: list, create, read, change, delete."""

from __future__ import annotations

import re
import secrets
import uuid
from collections.abc import Callable
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rollout.flagserver import jsonpatch, shown
from rollout.flagserver.access import AccessToken
from rollout.flagserver.book import Book, Json, entry, stamp
from rollout.flagserver.desk import Desk, is_true, number_in, read_json, read_object, require_flag, text_of
from rollout.flagserver.faults import WHILE_WRITING
from rollout.flagserver.instructions import Draft, needs_environment
from rollout.flagserver.keeping import now_ms
from rollout.flagserver.refusal import Refusal, invalid, missing
from rollout.flagserver.revising import Revision, needs_approval, revise

_KEY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,255}")
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
        key = text_of(body, "key")
        if not _KEY.fullmatch(key) or not text_of(body, "name"):
            raise invalid("A flag needs a name and a key of letters, digits, `.`, `_` and `-`.")

        def act(book: Book) -> Json:
            if book.flag(key) is not None:
                raise Refusal(409, f"A flag with the key {key} already exists.")
            _add(book, key, body, token)
            return shown.flag(self._desk.scope, book, key)

        return JSONResponse(await self._desk.change(act), status_code=201)

    async def read(self, request: Request) -> Response:
        """One flag; with `expand=evaluation` also the kinds of contexts that it was evaluated for."""
        self._desk.admit(request)
        key = self._desk.flag_key(request)
        self._check_env(request)
        expands = "evaluation" in request.query_params.get("expand", "").split(",")
        evaluation = self._desk.keeping.evaluated(key) if expands else None
        return JSONResponse(shown.flag(self._desk.scope, self._desk.keeping.book, key, evaluation=evaluation))

    async def delete(self, request: Request) -> Response:
        """The flag is gone; a new one of its name begins above its version."""
        token, key = self._desk.admit(request), self._desk.flag_key(request)

        def act(book: Book) -> None:
            require_flag(book, key)
            if needs_approval(book, key, token):
                raise _approval_required()
            book.gone[key] = (book.flag(key) or {})["version"] + 1
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
        token, key = self._desk.admit(request), self._desk.flag_key(request)
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
            return JSONResponse(self._desk.keeping.rehearse(act))
        return JSONResponse(await self._carry_out(act, key))

    async def _carry_out(self, act: Callable[[Book], Json], key: str) -> Json:
        fault = self._desk.faults.take(WHILE_WRITING)
        match fault.name if fault else None:
            case "lost-write":
                return self._desk.keeping.rehearse(act)
            case "foreign-write":
                await self._desk.change(lambda book: revise(book, key, _foreign()))
            case "reversed-weights":
                return await self._desk.change(lambda book: (act(book), self._reverse(book, key))[1])
        return await self._desk.change(act)

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


def _add(book: Book, key: str, body: Json, token: AccessToken) -> None:
    given = body.get("variations") or [{"value": True}, {"value": False}]
    if (
        not isinstance(given, list)
        or len(given) < 2
        or not all(isinstance(one, dict) and "value" in one for one in given)
    ):
        raise invalid("A flag needs at least two variations, each with a value.")
    defaults = body.get("defaults") or {"onVariation": 0, "offVariation": len(given) - 1}
    on, off = (
        defaults.get(name) if isinstance(defaults, dict) else None for name in ("onVariation", "offVariation")
    )
    if any(type(index) is not int or not 0 <= index < len(given) for index in (on, off)):
        raise invalid("defaults must name the indices of two variations.")
    at = now_ms()
    book.flags[key] = {
        "key": key,
        "version": 1,
        "on": body.get("isFlagOn") is True,
        "salt": secrets.token_hex(16),
        "variations": [one["value"] for one in given],
        "offVariation": off,
        "fallthrough": {"variation": on},
        "prerequisites": [],
        "targets": [],
        "rules": [],
    }
    book.records[key] = _record(body, given, {"onVariation": on, "offVariation": off}, at)
    stamp(book, key, at, version=book.gone.get(key, 0) + 1)
    said: Json = {"token": token.summary(), "actions": ["createFlag"], "version": 1}
    book.note(entry(key, at, by=token.name, title="createFlag", comment="", **said))


def _record(body: Json, variations: list[Json], defaults: Json, at: int) -> Json:
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
