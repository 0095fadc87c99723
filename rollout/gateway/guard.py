"""Pages that change what a gateway does, or show what it saw: for holders of its token, and never in its way."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import parse_qsl

from pydantic import ValidationError

from rollout.bearer import Bearer
from rollout.core.manifest import Document
from rollout.errors import RolloutError, Unavailable, Unreadable, WorldChanged
from rollout.gateway.openai import (
    ClientLeftError,
    Receive,
    RefusedError,
    Scope,
    Send,
    read_body,
    send_bytes,
    send_refusal,
)

_ROOT = "/rollout/"
_LARGEST = 4 * 1024 * 1024
_PAUSE_S = 10.0
_LONGEST_QUERY = 2000
_STATUS: tuple[tuple[type[RolloutError], int], ...] = (
    (Unavailable, 503),
    (WorldChanged, 409),
    (Unreadable, 422),
)

D = TypeVar("D", bound=Document)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a page is asked: its body, its query, and the `rest` of a path that goes on behind the page's own."""

    body: bytes
    query: Mapping[str, str]
    rest: str

    def document(self, kind: type[D]) -> D:
        """The body as a document. Raises RefusedError (400) with the first thing that is wrong, and its place."""
        try:
            return kind.model_validate_json(self.body)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"]) or "body"
            raise RefusedError(400, f"{place}: {first['msg']}", code="invalid_document") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a page answers."""

    status: int = 200
    body: bytes
    media_type: bytes = b"application/json"


Page = Callable[[Asked], Awaitable[Told]]
Pages = Mapping[str, Mapping[str, Page]]
"""Path -> method -> page. A path that ends in `/` has pages for all that goes on behind it."""


def told(value: object) -> Told:
    """A page of JSON."""
    return Told(body=json.dumps(value).encode())


class GuardedPages:
    """Checks the token before anything is read, bounds what is read, and says every refusal in OpenAI's form.

    `on_denied` is told the status of each attempt without the right token.
    """

    def __init__(self, bearer: Bearer, pages: Pages, *, on_denied: Callable[[int], None]) -> None:
        self._bearer = bearer
        self._pages = pages
        self._on_denied = on_denied

    @property
    def denied(self) -> int:
        """Attempts without the right token so far."""
        return self._bearer.denied

    def has(self, path: str) -> bool:
        """Whether a path belongs to one of these pages, whatever the method."""
        return _own(path) in self._pages

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request for such a path."""
        try:
            page = await self._tell(scope, receive)
        except ClientLeftError:
            return
        except RefusedError as refused:
            asks = [(b"www-authenticate", b"Bearer")] if refused.status == 401 else []
            await send_refusal(send, refused, [*asks, (b"cache-control", b"no-store")])
        else:
            headers = [(b"cache-control", b"no-store")]
            await send_bytes(send, page.status, page.body, media_type=page.media_type, headers=headers)

    async def _tell(self, scope: Scope, receive: Receive) -> Told:
        authorization = [value for key, value in scope["headers"] if key.lower() == b"authorization"]
        denial = self._bearer.deny(authorization[0] if len(authorization) == 1 else None)
        if denial is not None:
            self._on_denied(denial.status)
            raise RefusedError(denial.status, denial.message, code="no_access")
        own = _own(scope["path"])
        page = self._pages[own].get(scope["method"])
        if page is None:
            can = ", ".join(self._pages[own])
            raise RefusedError(405, f"{own} knows {can}.", code="method_not_allowed")
        body = await read_body(receive, largest=_LARGEST, pause_s=_PAUSE_S)
        asked = Asked(body=body, query=_query(scope), rest=scope["path"][len(own) :])
        try:
            return await page(asked)
        except RolloutError as error:
            raise refusal_of(error) from error


def refusal_of(error: RolloutError) -> RefusedError:
    """An error of ours as an answer; its code lets our own client raise it again."""
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    return RefusedError(status, " ".join(filter(None, (error.message, error.advice))), code=error.code)


def _own(path: str) -> str:
    """The page that a path belongs to: the path itself, or its first part where it goes on."""
    head, _, rest = path.removeprefix(_ROOT).partition("/")
    return f"{_ROOT}{head}/" if path.startswith(_ROOT) and rest else path


def _query(scope: Scope) -> Mapping[str, str]:
    raw = scope.get("query_string", b"")
    try:
        pairs = parse_qsl(
            raw.decode("ascii"), keep_blank_values=True, strict_parsing=bool(raw), max_num_fields=8
        )
    except ValueError:
        pairs = None
    if pairs is None or len(raw) > _LONGEST_QUERY or len(dict(pairs)) != len(pairs):
        raise RefusedError(400, "The query cannot be read.", code="invalid_query")
    return dict(pairs)
