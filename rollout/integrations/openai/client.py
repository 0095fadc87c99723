"""Requests to one server: patience for what passes, bounds on what comes back, and no secret in what is said."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from rollout.errors import ServingUnavailable, Usage
from rollout.tls import trusted

if TYPE_CHECKING:
    import httpx

_ATTEMPTS: Final = 5
BACKOFF_S: Final = 0.5
_LONGEST_WAIT_S: Final = 30.0
_PASSING: Final = frozenset({429, 503})
_MOST_BYTES: Final = 64 << 20
_DENIED: Final = frozenset({401, 403})

Body = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A whole answer. `text` is the server's own message, one line, where the answer is an error."""

    status: int
    content: bytes
    text: str


def server_root(url: str) -> str:
    """The address without a trailing `/v1`. Raises Usage for what is no address of a server, or holds a secret."""
    import httpx

    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL()
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.query:
        raise Usage("the address of a server is http://HOST:PORT or https://HOST:PORT")
    if parsed.userinfo:
        raise Usage("the address holds a password", advice="Give the token in the environment.")
    return str(parsed).rstrip("/").removesuffix("/v1")


class Client:
    """One server, for use by several threads. `token` is sent as a bearer token and shown nowhere."""

    def __init__(
        self,
        root: str,
        *,
        token: str | None,
        timeout_s: float,
        connections: int,
        backoff_s: float = BACKOFF_S,
    ) -> None:
        import httpx

        self._root, self._token, self._backoff_s = root, token, backoff_s
        # Proxies of the environment are not for servers of our own; a redirect is an answer that nobody expects.
        self._client = httpx.Client(
            base_url=root,
            verify=trusted(),
            timeout=timeout_s,
            headers={} if token is None else {"authorization": f"Bearer {token}"},
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            trust_env=False,
            follow_redirects=False,
        )

    def __repr__(self) -> str:
        return f"Client({self._root!r})"

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def ask(self, method: str, path: str, body: Body | None = None) -> Reply:
        """One request; again while the server is busy or not there, at most five times.

        Raises ServingUnavailable if it stays so, or turns the token down.
        """
        import httpx

        for attempt in range(_ATTEMPTS):
            try:
                reply, wait_s = self._once(method, path, body)
            except httpx.RequestError as error:
                if attempt == _ATTEMPTS - 1:
                    raise self.unavailable(f"did not answer {path}: {type(error).__name__}") from None
                reply, wait_s = None, None
            if reply is not None and (reply.status not in _PASSING or attempt == _ATTEMPTS - 1):
                return self._allowed(reply)
            time.sleep(pause(attempt, wait_s, backoff_s=self._backoff_s))
        raise AssertionError("the last attempt returns or raises")

    @contextmanager
    def stream(self, path: str, body: Body) -> Iterator[Iterator[dict[str, Any]] | Reply]:
        """The events of a streamed answer, or the whole reply if the server refuses it.

        Asked again while the server is busy; what breaks off on the way is not. Raises ServingUnavailable.
        """
        import httpx

        try:
            for attempt in range(_ATTEMPTS):
                with self._client.stream("POST", path, json=dict(body)) as response:
                    if response.status_code not in _PASSING or attempt == _ATTEMPTS - 1:
                        ok = response.status_code == 200
                        yield self._events(response) if ok else self._allowed(self._reply(response))
                        return
                    wait_s = _retry_after(response)
                time.sleep(pause(attempt, wait_s, backoff_s=self._backoff_s))
        except httpx.RequestError as error:
            raise self.unavailable(f"broke off {path}: {type(error).__name__}") from None

    def unavailable(self, what: str, *, advice: str = "") -> ServingUnavailable:
        """An error about this server."""
        return ServingUnavailable(f"the server {self._root} {what}", advice=advice)

    def _once(self, method: str, path: str, body: Body | None) -> tuple[Reply, float | None]:
        with self._client.stream(method, path, json=None if body is None else dict(body)) as response:
            return self._reply(response), _retry_after(response)

    def _reply(self, response: httpx.Response) -> Reply:
        content = bytearray()
        for part in response.iter_bytes():
            content += part
            if len(content) > _MOST_BYTES:
                raise self.unavailable(f"says more than {_MOST_BYTES >> 20} MiB")
        text = "" if response.status_code == 200 else self._without_token(_message(bytes(content)))
        return Reply(status=response.status_code, content=bytes(content), text=text)

    def _allowed(self, reply: Reply) -> Reply:
        if reply.status in _DENIED:
            raise self.unavailable(
                f"answered {reply.status}", advice="Give it a token that it knows, in ROLLOUT_ENGINE_TOKEN."
            )
        if reply.status >= 500 or reply.status in _PASSING:
            raise self.unavailable(f"answered {reply.status}: {reply.text}")
        return reply

    def _events(self, response: httpx.Response) -> Iterator[dict[str, Any]]:
        for line in self._lines(response):
            data = line.removeprefix("data:").strip()
            if data == "[DONE]":
                return
            if data and line.startswith("data:"):
                yield self._event(data)
        raise self.unavailable("ended its stream too early")

    def _lines(self, response: httpx.Response) -> Iterator[str]:
        size, parts = 0, list[bytes]()
        for content in response.iter_bytes():
            size += len(content)
            if size > _MOST_BYTES:
                raise self.unavailable(f"says more than {_MOST_BYTES >> 20} MiB")
            *ends, rest = content.split(b"\n")
            for end in ends:
                yield b"".join((*parts, end)).decode("utf-8", "replace")
                parts = []
            parts.append(rest)
        yield b"".join(parts).decode("utf-8", "replace")

    def _event(self, data: str) -> dict[str, Any]:
        try:
            event = json.loads(data)
        except (ValueError, RecursionError):
            event = None
        if not isinstance(event, dict) or "error" in event:
            raise self.unavailable(f"failed in its stream: {self._without_token(_message(data.encode()))}")
        return event

    def _without_token(self, text: str) -> str:
        return text if self._token is None else text.replace(self._token, "***")


def pause(attempt: int, asked_s: float | None, *, backoff_s: float) -> float:
    """Seconds to wait before the next attempt: twice as long each time, or as long as the server asks for, in bounds."""
    return min(max(backoff_s * 2.0**attempt, asked_s or 0.0), _LONGEST_WAIT_S)


def _retry_after(response: httpx.Response) -> float | None:
    """The seconds that the server asks for; a date is not read."""
    said = response.headers.get("retry-after", "")
    return float(said) if said.isascii() and said.isdigit() and len(said) < 6 else None


def _message(content: bytes) -> str:
    """The message of an error in OpenAI's form, or the beginning of whatever came instead, on one line."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        document = None
    error = document.get("error") if isinstance(document, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    text = message if isinstance(message, str) else content[:2000].decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() else " " for letter in text)[:500].strip()
