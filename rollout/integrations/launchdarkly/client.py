"""LaunchDarkly's REST API over HTTP: one token, one request in flight, a deadline, and an outcome for each answer.

What may be asked again is asked again here: reads, what never left this machine, and what a rate limit refused. A
write whose fate nobody knows is never repeated here: whoever wrote looks first (`OutcomeUnknown`).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import httpx
from pydantic import JsonValue

from rollout.errors import FlagDenied, FlagUnavailable
from rollout.integrations.launchdarkly.pace import Pace, backoff_s, reset_s
from rollout.integrations.launchdarkly.tokens import WHAT_ROLE, WHERE_LOCAL, Token
from rollout.tls import trusted

SEMANTIC_PATCH = "application/json; domain-model=launchdarkly.semanticpatch"
VERSION, BETA = "20240415", "beta"

_JSON = "application/json"
_LARGEST = 4 * 2**20
_LONGEST_MESSAGE = 300
_CONNECT_S = 3.0
_GRACE_S = 0.25
_DEEPEST = 60
_MOST_ATTEMPTS = 8


class OutcomeUnknown(FlagUnavailable):
    """A write was sent, and nobody knows whether it was carried out."""


class NotNow(FlagUnavailable):
    """There was no useful answer, and in `wait_s` seconds there may be one."""

    wait_s = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer that means something to the one who asked. `message` is LaunchDarkly's own, fit to be shown."""

    status: int
    body: JsonValue
    message: str

    @property
    def ok(self) -> bool:
        """Whether it was done."""
        return self.status < 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One request. `needs` names the actions of a role that allow it, for whoever is told that it is refused."""

    method: str
    path: str
    needs: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: JsonValue = None
    content_type: str = _JSON
    version: str = VERSION

    @property
    def writes(self) -> bool:
        """Whether it may change something."""
        return self.method != "GET"


class Line:
    """The connection to one LaunchDarkly, shared by all conversations."""

    def __init__(self, api: str, *, pace: Pace | None = None, tokens: Sequence[Token] = ()) -> None:
        self.api = api.rstrip("/")
        self._tokens = tokens
        self.pace = pace or Pace()
        self._busy = threading.Lock()
        self._client = self._made()

    def __repr__(self) -> str:
        return f"Line({self.api!r})"

    def talk(self, token: Token, patience_s: float, *, try_s: float | None = None) -> Conversation:
        """A conversation that ends after `patience_s`.

        With `try_s` each request is sent once and may take so long; else it is tried until the patience ends.
        """
        return Conversation(self, token, patience_s, try_s)

    def send(self, question: Question, token: Token, timeout_s: float) -> tuple[httpx.Response, bytes]:
        """One request and its answer, in `timeout_s` whatever the server does. Raises httpx.TransportError.

        A thread of its own asks: a time-out of the socket begins anew with each byte, and looking up a name has none.
        """
        if not self._busy.acquire(timeout=timeout_s):
            raise httpx.ConnectTimeout("another request is in flight")
        try:
            return self._bounded(question, token, timeout_s)
        finally:
            self._busy.release()

    def without_tokens(self, value: JsonValue, depth: int = 0) -> JsonValue:
        """What was answered, without any token. Raises ValueError if it is nested deeper than any answer that we know."""
        if depth > _DEEPEST:
            raise ValueError(f"nested deeper than {_DEEPEST}")
        match value:
            case str():
                for token in self._tokens:
                    value = token.hidden_in(value)
                return value
            case list():
                return [self.without_tokens(each, depth + 1) for each in value]
            case dict():
                return {
                    str(self.without_tokens(name, depth + 1)): self.without_tokens(part, depth + 1)
                    for name, part in value.items()
                }
            case _:
                return value

    def _bounded(self, question: Question, token: Token, timeout_s: float) -> tuple[httpx.Response, bytes]:
        client, given_up = self._client, threading.Event()
        outcome: Future[tuple[httpx.Response, bytes]] = Future()

        def ask() -> None:
            try:
                outcome.set_result(self._exchanged(client, question, token, timeout_s, given_up))
            except BaseException as error:
                outcome.set_exception(error)

        threading.Thread(target=ask, name="launchdarkly", daemon=True).start()
        try:
            return outcome.result(timeout_s + _GRACE_S)
        except TimeoutError:
            given_up.set()
            self._client = self._made()
            client.close()
            raise httpx.ReadTimeout("the answer took too long") from None

    def _exchanged(
        self,
        client: httpx.Client,
        question: Question,
        token: Token,
        timeout_s: float,
        given_up: threading.Event,
    ) -> tuple[httpx.Response, bytes]:
        def trace(event: str, _: object) -> None:
            """Nothing leaves after it was given up: a late share could follow a taking back."""
            if given_up.is_set():
                raise httpx.ReadTimeout(f"given up before {event}")

        headers = {
            "authorization": token.secret,
            "ld-api-version": question.version,
            "content-type": question.content_type,
            "accept-encoding": "identity",
            "user-agent": "adapter-rollout",
        }
        content = None if question.body is None else json.dumps(question.body).encode()
        url, query = self.api + question.path, dict(question.query)
        until = self.pace.monotonic() + timeout_s
        timeout = httpx.Timeout(timeout_s, connect=min(timeout_s, _CONNECT_S))
        with client.stream(
            question.method,
            url,
            params=query,
            content=content,
            headers=headers,
            timeout=timeout,
            extensions={"trace": trace},
        ) as response:
            return response, self._read(response, until)

    def _made(self) -> httpx.Client:
        # A proxy of the environment may lead to LaunchDarkly, never to this machine.
        outside = httpx.URL(self.api).host not in ("localhost", "127.0.0.1", "::1")
        return httpx.Client(verify=trusted(by_environment=outside), follow_redirects=False, trust_env=outside)

    def _read(self, response: httpx.Response, until: float) -> bytes:
        read = bytearray()
        for piece in response.iter_bytes():
            read += piece
            if len(read) > _LARGEST:
                raise httpx.ReadError(f"the answer is larger than {_LARGEST} bytes")
            if self.pace.monotonic() > until:
                raise httpx.ReadTimeout("the answer took too long")
        return bytes(read)


class Conversation:
    """Requests with one token until a deadline."""

    def __init__(self, line: Line, token: Token, patience_s: float, try_s: float | None) -> None:
        self.line, self.token = line, token
        self._pace = line.pace
        self._try_s = try_s
        self._until = self._pace.monotonic() + patience_s

    def __repr__(self) -> str:
        return f"Conversation({self.line.api!r}, {self.token!r})"

    def ask(self, question: Question) -> Answer:
        """The answer, if it is one that the asker must understand: 2xx, and 400, 404, 405, 409, 422 and their kin.

        Raises FlagDenied for a refused token or a redirect, OutcomeUnknown for a write whose fate is unknown,
        FlagUnavailable if LaunchDarkly did not answer within the patience, NotNow after a single try.
        """
        for attempt in range(_MOST_ATTEMPTS):
            try:
                response, content = self._sent(question)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                complaint, wait_s = _said(error), 0.0
            except httpx.InvalidURL:
                raise FlagUnavailable(
                    "LaunchDarkly cannot be asked: the flag's key makes no address"
                ) from None
            except httpx.TransportError as error:
                if question.writes:
                    raise self._unknown(question, _said(error)) from None
                complaint, wait_s = _said(error), 0.0
            else:
                if response.status_code != 429 and response.status_code < 500:
                    return self._understood(question, response.status_code, content)
                complaint = f"answered {response.status_code}"
                if response.status_code != 429 and question.writes:
                    raise self._unknown(question, complaint)
                wait_s = _told_s(response, self._pace.epoch())
            if self._try_s is not None:
                raise self._not_now(complaint, wait_s)
            self.wait(wait_s + backoff_s(attempt, self._pace.jitter()), complaint)
        raise self._away(f"{complaint}, {_MOST_ATTEMPTS} times")

    def aside(self, patience_s: float) -> Conversation:
        """A shorter conversation within this one, for what is good to know and must not use up the time."""
        return Conversation(self.line, self.token, min(patience_s, self.left()), self._try_s)

    def wait(self, seconds: float, complaint: str) -> None:
        """Wait, unless that takes longer than there is patience: then raise FlagUnavailable."""
        if seconds >= self.left():
            raise self._away(complaint)
        self._pace.sleep(seconds)

    def pause(self, attempt: int, complaint: str) -> None:
        """Wait before something is tried again."""
        self.wait(self.backoff_s(attempt), complaint)

    def backoff_s(self, attempt: int) -> float:
        """How long to wait before something is tried again."""
        return backoff_s(attempt, self._pace.jitter())

    def left(self) -> float:
        """Seconds until it ends."""
        return self._until - self._pace.monotonic()

    def _sent(self, question: Question) -> tuple[httpx.Response, bytes]:
        timeout_s = min(self._try_s or self._pace.answer_s, self.left())
        if timeout_s <= 0:
            raise self._away("no time is left")
        return self.line.send(question, self.token, timeout_s)

    def _understood(self, question: Question, status: int, content: bytes) -> Answer:
        try:
            body: JsonValue = self.line.without_tokens(json.loads(content)) if content.strip() else None
        except (ValueError, RecursionError):
            body = None
            if status < 300:
                raise self._garbled(question) from None
        answer = Answer(status=status, body=body, message=self._message(body))
        if status in (401, 403):
            raise self._refused(question, answer)
        if 300 <= status < 400:
            advice = "Set `flags.api` of the environment to LaunchDarkly's own address."
            raise FlagDenied(f"{self.line.api} answered {status}: it is somewhere else", advice=advice)
        return answer

    def _message(self, body: JsonValue) -> str:
        said = body.get("message") if isinstance(body, dict) else None
        code = body.get("code") if isinstance(body, dict) else None
        words = [word for word in (code, said) if isinstance(word, str) and word]
        text = " ".join(": ".join(words).split())
        return "".join(c for c in text if c.isprintable())[:_LONGEST_MESSAGE]

    def _refused(self, question: Question, answer: Answer) -> FlagDenied:
        return FlagDenied(
            f"LaunchDarkly answered {answer.status} to the token in {self.token.variable}"
            f" ({answer.message or 'without a word'})",
            advice=f"Either it is no access token of this account, or its role lacks {question.needs}"
            f" ({WHAT_ROLE}). {WHERE_LOCAL}",
        )

    def _garbled(self, question: Question) -> FlagUnavailable:
        complaint = "answered with something that is no JSON, or nested too deeply"
        return self._unknown(question, complaint) if question.writes else self._away(complaint)

    def _unknown(self, question: Question, complaint: str) -> OutcomeUnknown:
        return OutcomeUnknown(
            f"nobody knows whether {self.line.api} did what {question.method} asked for: {complaint}",
            advice="Read the flag before anything else is written.",
        )

    def _not_now(self, complaint: str, wait_s: float) -> NotNow:
        away = self._away(complaint)
        error = NotNow(away.message, advice=away.advice)
        error.wait_s = wait_s
        return error

    def _away(self, complaint: str) -> FlagUnavailable:
        return FlagUnavailable(
            f"LaunchDarkly at {self.line.api} did not answer in time: {complaint}",
            advice="Gateways keep serving by what they read last. Try again,"
            " or take the candidate out of all gateways at once with `rollout hold NAME -e ENV --reason TEXT`.",
        )


def _told_s(response: httpx.Response, now: float) -> float:
    """How long the answer tells us to wait. Limits stand in every answer, and only a 429 says that one is reached."""
    if response.status_code == 429:
        return reset_s(response.headers, now)
    return (
        reset_s({"retry-after": response.headers.get("retry-after", "")}, now)
        if response.status_code == 503
        else 0.0
    )


def _said(error: httpx.TransportError) -> str:
    """What went wrong on the wire, by its kind: the words of it may quote anything."""
    return f"no answer ({type(error).__name__})"
