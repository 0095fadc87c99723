"""GitHub's API over HTTP: one token, a deadline for what belongs together, and an outcome for each answer.

Nearly every request may be sent twice, since whoever asks looks first and what is so already is left alone. So what did
not arrive, was limited, or met a server that failed is tried again until the patience ends.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx

from rollout.core.plain import plain
from rollout.errors import ForgeDenied, ForgeUnavailable
from rollout.integrations.github.pace import Pace, backoff_s, limited_s
from rollout.integrations.github.tokens import WHAT_RIGHTS, Token
from rollout.tls import trusted

_VERSION = "2022-11-28"
_LARGEST = 8 * 2**20
_LONGEST_MESSAGE = 300
_CONNECT_S = 3.0
_MOST_ATTEMPTS = 6
_MOST_PAGES = 50
_HERE = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer that means something to the one who asked. `message` is GitHub's own, fit to be shown."""

    status: int
    body: Any = field(repr=False)
    message: str
    next_page: str | None = None

    @property
    def ok(self) -> bool:
        """Whether it was done."""
        return self.status < 300


class Client:
    """Requests with one token. `begin` begins the time that all which follow may take together."""

    def __init__(self, api: str, token: Token, *, patience_s: float, pace: Pace | None = None) -> None:
        self.api = api.rstrip("/")
        self._token = token
        self._patience_s = patience_s
        self._pace = pace or Pace()
        self._until = 0.0

    def __repr__(self) -> str:
        return f"Client({self.api!r}, {self._token!r})"

    @property
    def graphql(self) -> str:
        """The address of the other API: beside `/api/v3` at an Enterprise Server, below the host elsewhere."""
        root = self.api.removesuffix("/v3")
        return f"{root}/graphql"

    def begin(self) -> None:
        """Let the patience begin anew."""
        self._until = self._pace.monotonic() + self._patience_s

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: Mapping[str, str] | None = None,
        again: bool = True,
    ) -> Answer:
        """The answer, if it is one that the asker must understand: 2xx, 404, 405, 409, 422 and their kin.

        `path` is below the API, or a whole address of it; `again` is whether it may be sent twice. Raises ForgeDenied
        for a refused token, a missing right and a redirect, ForgeUnavailable where nothing useful was answered within
        the patience.
        """
        complaint = "nothing was asked yet"
        for attempt in range(_MOST_ATTEMPTS):
            wait_s = backoff_s(attempt, self._pace.jitter())
            try:
                status, headers, content = self._sent(method, path, body, query or {})
            except httpx.InvalidURL:
                raise ForgeDenied(f"{self.api} makes no address", advice="Correct `forge.api`.") from None
            except httpx.RequestError as error:
                complaint = f"no answer ({type(error).__name__})"  # Its words may quote anything.
                sent = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
            else:
                parsed, understood = _parsed(content)
                message = self._message(parsed)
                limit_s = limited_s(status, headers, message, self._pace.epoch())
                if limit_s is not None:
                    complaint = f"it limits us for {limit_s:.0f} s more ({message or status})"
                    wait_s, sent = limit_s, False
                elif status < 500 and (understood or status >= 300):
                    return self._understood(status, parsed, message, headers)
                else:
                    complaint = f"it answered {status}" if status >= 500 else "it answered with no JSON"
                    sent = True
            if sent and not again:
                raise self.away(f"{complaint}, and nobody knows whether it was done")
            self._wait(wait_s, complaint)
        raise self.away(f"{complaint}, {_MOST_ATTEMPTS} times")

    def pages(
        self, path: str, query: Mapping[str, str], *, within: str | None = None
    ) -> Iterator[dict[str, Any]]:
        """The items of all pages of a list, or of the list that an object calls `within`."""
        answer = self.ask("GET", path, query={**query, "per_page": "100"})
        for _ in range(_MOST_PAGES):
            items = answer.body.get(within) if within and isinstance(answer.body, dict) else answer.body
            if not answer.ok or not isinstance(items, list):
                raise self.unexpected(f"a list of {path}", answer)
            yield from (item for item in items if isinstance(item, dict))
            if answer.next_page is None:
                return
            answer = self.ask("GET", answer.next_page)
        raise self.away(f"{path} has more than {_MOST_PAGES} pages")

    def unexpected(self, wanted: str, answer: Answer) -> ForgeDenied:
        """What was asked for was refused, for a reason that only a person can do something about."""
        return ForgeDenied(
            f"GitHub answered {answer.status} to {wanted}: {answer.message or 'without a word'}",
            advice=f"The token in {self._token.variable} needs {WHAT_RIGHTS};"
            " `forge.repository` is to name the repository of the environment's remote.",
        )

    def _sent(
        self, method: str, path: str, body: object, query: Mapping[str, str]
    ) -> tuple[int, Mapping[str, str], bytes]:
        timeout_s = min(self._pace.answer_s, self._until - self._pace.monotonic())
        if timeout_s <= 0:
            raise self.away("no time is left")
        url = path if path.startswith(("http://", "https://")) else self.api + path
        headers = {
            "authorization": f"Bearer {self._token.secret}",
            "accept": "application/vnd.github+json",
            "x-github-api-version": _VERSION,
            "user-agent": "adapter-rollout",
            "accept-encoding": "identity",
        }
        timeout = httpx.Timeout(timeout_s, connect=min(timeout_s, _CONNECT_S))
        with self._http.stream(
            method, url, params=dict(query) or None, json=body, headers=headers, timeout=timeout
        ) as response:
            return response.status_code, response.headers, self._read(response)

    @cached_property
    def _http(self) -> httpx.Client:
        # A proxy of the environment may lead to GitHub, never to this machine.
        outside = httpx.URL(self.api).host not in _HERE
        try:
            return httpx.Client(
                verify=trusted(by_environment=outside), follow_redirects=False, trust_env=outside
            )
        # Its words may quote the address of a proxy, with what it is given to let us through.
        except (OSError, ValueError, ImportError) as error:
            raise ForgeDenied(
                f"no connection to GitHub can be made from what the environment says ({type(error).__name__})",
                advice="See HTTPS_PROXY and ALL_PROXY, which take http:// and https://, and SSL_CERT_FILE and"
                " SSL_CERT_DIR, which name what can be read.",
            ) from None

    def _read(self, response: httpx.Response) -> bytes:
        read = bytearray()
        for piece in response.iter_bytes():
            read += piece
            if len(read) > _LARGEST:
                raise httpx.ReadError(f"the answer is larger than {_LARGEST} bytes")
            if self._pace.monotonic() > self._until:
                raise httpx.ReadTimeout("the answer took too long")
        return bytes(read)

    def _understood(self, status: int, body: Any, message: str, headers: Mapping[str, str]) -> Answer:
        if status in (401, 403):
            raise ForgeDenied(
                f"GitHub answered {status} to the token in {self._token.variable}: {message or 'without a word'}",
                advice=f"It is no valid token, or lacks {WHAT_RIGHTS}.",
            )
        if 300 <= status < 400:
            # Where it leads is not followed: the token is meant for this address and this repository alone.
            raise ForgeDenied(
                f"{self.api} answered {status}: what was asked for is somewhere else",
                advice="Set `forge.repository` to the name that the repository has now, and `forge.api` to its server.",
            )
        return Answer(
            status=status, body=body, message=message, next_page=self._next(headers.get("link", ""))
        )

    def _next(self, link: str) -> str | None:
        """The next page that an answer names, if it is one of this API: the token goes nowhere else."""
        for part in link.split(","):
            address, _, relation = part.partition(";")
            if 'rel="next"' not in relation:
                continue
            try:
                url = urljoin(f"{self.api}/", address.strip().removeprefix("<").removesuffix(">"))
                here = urlsplit(url)[:2] == urlsplit(self.api)[:2]
            except ValueError:
                raise self.away("the next page that it names is no address") from None
            if here:
                return url
        return None

    def _message(self, body: Any) -> str:
        """GitHub's own words, with those of each of its errors."""
        if not isinstance(body, dict):
            return ""
        errors = body.get("errors")
        words = (body.get("message"), *(map(_word, errors) if isinstance(errors, list) else ()))
        told = ": ".join(dict.fromkeys(word for word in words if isinstance(word, str) and word))
        return plain(self._token.hidden_in(told), _LONGEST_MESSAGE, nothing="")

    def pause(self, attempt: int, complaint: str) -> None:
        """Wait before something is looked at again; raise ForgeUnavailable where there is no time for it."""
        self._wait(backoff_s(attempt, self._pace.jitter()), complaint)

    def _wait(self, seconds: float, complaint: str) -> None:
        if seconds >= self._until - self._pace.monotonic():
            raise self.away(complaint)
        self._pace.sleep(seconds)

    def away(self, complaint: str) -> ForgeUnavailable:
        """There was no useful answer."""
        return ForgeUnavailable(
            f"GitHub at {self.api} gave no useful answer in time: {complaint}",
            advice="Run the command again, or let the next tick do it: what was done already is found again.",
        )


def _parsed(content: bytes) -> tuple[Any, bool]:
    """A body, and whether it could be understood; none at all is understood as None."""
    if not content.strip():
        return None, True
    try:
        return json.loads(content), True
    except (ValueError, RecursionError):
        return None, False


def _word(error: Any) -> str | None:
    if isinstance(error, str):
        return error
    if not isinstance(error, dict):
        return None
    if isinstance(error.get("message"), str):
        return str(error["message"])
    return " ".join(str(error[part]) for part in ("resource", "field", "code") if part in error) or None
