"""One connection to a process of ours: what it answers is bounded, and what it refuses is an error of ours again."""

from __future__ import annotations

import json
from typing import Final, TypeVar

from pydantic import TypeAdapter, ValidationError

from rollout.errors import (
    Busy,
    LoadRefused,
    MetricsUnavailable,
    NotHeld,
    RolloutError,
    ServingUnavailable,
    Unavailable,
    Unreadable,
    Usage,
    WorldChanged,
)
from rollout.tls import trusted

_LARGEST: Final = 16 * 1024 * 1024
_LONGEST: Final = 500
_BY_CODE: Final[dict[str, type[RolloutError]]] = {
    **{
        kind.code: kind
        for kind in (Busy, MetricsUnavailable, ServingUnavailable, Unavailable, Unreadable, WorldChanged)
    },
    "is_stable": WorldChanged,
    "not_held": NotHeld,
    "no_candidate": Unreadable,
    "invalid_document": Unreadable,
    LoadRefused.code: LoadRefused,
}
_NOT_THE_TOKEN: Final = frozenset({401, 403})
T = TypeVar("T")


class Line:
    """Asks one gateway or agent, called `who` in errors. `token` is shown nowhere. Usable from several threads."""

    def __init__(self, who: str, url: str, *, timeout_s: float, token: str | None) -> None:
        import httpx

        self.who = who
        self._token = token
        self._timeout_s = timeout_s
        # Proxies of the environment are not for them; a redirect is an answer that nobody expects.
        self._client = httpx.Client(
            base_url=url.rstrip("/"),
            verify=trusted(),
            timeout=timeout_s,
            headers={} if token is None else {"authorization": f"Bearer {token}"},
            trust_env=False,
            follow_redirects=False,
        )

    def __repr__(self) -> str:
        return f"Line({self.who!r})"

    def ask(
        self, method: str, path: str, content: bytes | None = None, *, patience_s: float | None = None
    ) -> bytes:
        """The body of a 200, with `patience_s` for what takes longer than most.

        Raises what the gateway named as its error, Usage where it does not take the token, and
        ServingUnavailable for all else.
        """
        status, body = self._exchange(method, path, content, patience_s or self._timeout_s)
        if status != 200:
            raise self._error(status, body)
        return body

    def read(self, kind: TypeAdapter[T], method: str, path: str, content: bytes | None = None) -> T:
        """The document that is answered. Raises ServingUnavailable for anything else, beside what `ask` raises."""
        body = self.ask(method, path, content)
        try:
            return kind.validate_json(body)
        except ValidationError as error:
            raise ServingUnavailable(
                f"{self.who} answered something that is not what {path} answers: {error.error_count()} flaws"
            ) from error

    def _exchange(
        self, method: str, path: str, content: bytes | None, patience_s: float
    ) -> tuple[int, bytes]:
        import httpx

        body = bytearray()
        timeout = httpx.Timeout(self._timeout_s, read=patience_s)
        try:
            with self._client.stream(method, path, content=content, timeout=timeout) as response:
                for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > _LARGEST:
                        raise ServingUnavailable(f"{self.who} answered more than {_LARGEST} bytes")
                return response.status_code, bytes(body)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ServingUnavailable(f"{self.who} did not answer: {type(error).__name__}") from error

    def _error(self, status: int, body: bytes) -> RolloutError:
        if status in _NOT_THE_TOKEN:
            return Usage(
                f"{self.who} does not take our token ({status})",
                advice="The environment document names the variable that holds it, here and there.",
            )
        code, message = _said(body)
        if self._token is not None:
            message = message.replace(self._token, "***")
        kind = _BY_CODE.get(code, ServingUnavailable)
        return kind(
            f"{self.who} answered {status}: {message}" if message else f"{self.who} answered {status}"
        )


def _said(body: bytes) -> tuple[str, str]:
    """(code, message) of an error in OpenAI's form, on one line; empty where it has another form."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return "", ""
    error = document.get("error") if isinstance(document, dict) else None
    if not isinstance(error, dict):
        return "", ""
    text = "".join(letter if letter.isprintable() else " " for letter in str(error.get("message") or ""))
    return str(error.get("code")), text[:_LONGEST]
