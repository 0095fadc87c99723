"""What every page needs: who asks, for what, and the body as JSON."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from starlette.requests import Request

from rollout.flagserver import book
from rollout.flagserver.access import Access, AccessToken
from rollout.flagserver.book import Book
from rollout.flagserver.faults import Faults
from rollout.flagserver.keeping import Keeping
from rollout.flagserver.refusal import Refusal, invalid, missing
from rollout.flagserver.shown import Scope
from rollout.flagserver.stream import Broadcast

T = TypeVar("T")
_LARGEST_BODY: Final = 1024 * 1024
_DEEPEST: Final = 50  # what is kept is copied and read again, each time a flag is changed


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """The parts of one server."""

    scope: Scope
    access: Access
    keeping: Keeping
    broadcast: Broadcast
    faults: Faults

    def admit(self, request: Request) -> AccessToken:
        """Who asks. Raises Refusal 401, 403, or 404 if the path names another project or environment."""
        token = self.access.token(request)
        if request.path_params.get("project", self.scope.project) != self.scope.project:
            raise missing("project key")
        if request.path_params.get("environment", self.scope.environment) != self.scope.environment:
            raise missing("environment key")
        return token

    def flag(self, request: Request) -> tuple[str, Book]:
        """The flag that the path names, and the book it is in: a later one may not have it. Raises Refusal 404."""
        key, book = str(request.path_params["flag"]), self.keeping.book
        require_flag(book, key)
        return key, book

    async def change(self, act: Callable[[Book], T]) -> T:
        """Change the book in a thread: disks are slow, and streams must not wait for them."""
        return await asyncio.to_thread(self.keeping.change, act)


def require_flag(book: Book, key: str) -> None:
    """Raise Refusal 404 if there is no such flag."""
    if book.flag(key) is None:
        raise missing("flag key")


async def read_json(request: Request) -> Any:
    """The body. Raises Refusal 400 or 413."""
    content = b""
    async for chunk in request.stream():
        content += chunk
        if len(content) > _LARGEST_BODY:
            raise Refusal(413, f"The body is larger than {_LARGEST_BODY} bytes.")
    try:
        found = book.read_json(content)
    except ValueError as error:
        raise invalid("The body is not JSON.") from error
    if _is_deeper(found, _DEEPEST):
        raise invalid(f"The body is nested more than {_DEEPEST} deep.")
    return found


def _is_deeper(value: Any, than: int) -> bool:
    level = [value]
    for _ in range(than):
        parts = [part for part in level if isinstance(part, dict | list)]
        level = [each for part in parts for each in (part.values() if isinstance(part, dict) else part)]
    return any(isinstance(one, dict | list) for one in level)


async def read_object(request: Request) -> dict[str, Any]:
    """The body, which must be an object."""
    body = await read_json(request)
    if not isinstance(body, dict):
        raise invalid("The body must be an object.")
    return body


def text_of(body: dict[str, Any], name: str) -> str:
    """A text in a body; empty if it is not there. Raises Refusal 400."""
    value = body.get(name) or ""
    if not isinstance(value, str):
        raise invalid(f"{name} must be a text.")
    return value


def is_true(request: Request, name: str) -> bool:
    """A switch in the query."""
    return request.query_params.get(name, "").lower() == "true"


def number_in(request: Request, name: str, fallback: int) -> int:
    """A whole number in the query. Raises Refusal 400."""
    text = request.query_params.get(name)
    if text is None:
        return fallback
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise invalid(f"{name} must be a whole number.")
    return int(text)
