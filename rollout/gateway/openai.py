"""The OpenAI protocol, as far as a gateway must know it: which paths infer, and how a refusal looks."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any, NoReturn

import msgspec

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

INFERENCE_PATHS = frozenset({"/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings"})
MIRRORED_PATHS = frozenset({"/v1/chat/completions", "/v1/completions"})
"""Paths whose requests can be repeated without a trace: `/v1/responses` may store what it is told."""

_ONLY_FOR_THE_USER = (
    "stream",
    "stream_options",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "functions",
    "function_call",
    "request_id",
)
_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
# What the client said of its own bytes, which are not sent on. vLLM takes an adapter's name from the last one too,
# and only the gateway chooses adapters.
_OF_THE_CLIENT = frozenset(
    {
        b"accept-encoding",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"expect",
        b"x-amzn-sagemaker-adapter-identifier",
        b"x-rollout-pin",
        b"x-rollout-shadow",
        b"x-rollout-token",
    }
)


class RefusedError(Exception):
    """A request that goes to no adapter, with the answer that its client gets."""

    def __init__(
        self, status: int, message: str, *, code: str | None = None, param: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param


class ClientLeftError(Exception):
    """The client closed the connection before its request was complete."""


def error_body(status: int, message: str, *, code: str | None = None, param: str | None = None) -> bytes:
    """An error in OpenAI's form."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    return json.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}}).encode()


def local_path(scope: Scope) -> str:
    """The path of a request below wherever the app is mounted."""
    path: str = scope["path"]
    root = scope.get("root_path", "").rstrip("/")
    return path[len(root) :] if root and path.startswith(f"{root}/") else path


async def send_bytes(
    send: Send,
    status: int,
    body: bytes,
    *,
    media_type: bytes = b"application/json",
    headers: Headers | None = None,
) -> None:
    """A whole answer."""
    own = [(b"content-type", media_type), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": own + (headers or [])})
    await send({"type": "http.response.body", "body": body})


async def send_refusal(send: Send, refused: RefusedError, headers: Headers | None = None) -> None:
    """The answer to a request that goes nowhere."""
    body = error_body(refused.status, refused.message, code=refused.code, param=refused.param)
    await send_bytes(send, refused.status, body, headers=headers)


class Room:
    """Memory for the bodies of requests under way, in bytes."""

    def __init__(self, size: int) -> None:
        self._free = size

    def take(self, size: int) -> None:
        """Raises RefusedError (429) if there is not so much."""
        if size > self._free:
            raise overloaded()
        self._free -= size

    def give_back(self, size: int) -> None:
        """What was taken is free again."""
        self._free += size


def overloaded() -> RefusedError:
    """The refusal of a request that comes while too many are under way."""
    return RefusedError(429, "Too many requests are under way. Please try again.", code="overloaded")


async def read_body(receive: Receive, *, largest: int, pause_s: float, room: Room | None = None) -> bytes:
    """The whole request body, whose length was taken from `room`: whoever is done with it gives that back.

    Raises RefusedError (413 beyond `largest` bytes, 408 after a pause, 429 without room), ClientLeftError; then
    nothing is taken.
    """
    room = room or Room(largest)
    parts: list[bytes] = []
    try:
        await _read_parts(receive, room, parts, largest=largest, pause_s=pause_s)
    except BaseException:
        room.give_back(sum(map(len, parts)))
        raise
    return b"".join(parts)


async def _read_parts(
    receive: Receive, room: Room, parts: list[bytes], *, largest: int, pause_s: float
) -> None:
    size = 0
    while True:
        try:
            async with asyncio.timeout(pause_s):
                message = await receive()
        except TimeoutError:
            raise RefusedError(408, "The request did not arrive in time.") from None
        if message["type"] == "http.disconnect":
            raise ClientLeftError
        part = message.get("body", b"")
        size += len(part)
        if size > largest:
            raise RefusedError(413, f"The request is larger than {largest} bytes.")
        room.take(len(part))
        parts.append(part)
        if not message.get("more_body", False):
            return


class InferenceRequest:
    """A request with a `model`, read once and only at its first level: the values stay the bytes that they were."""

    __slots__ = ("_fields", "body", "model")

    def __init__(self, body: bytes, fields: Mapping[str, msgspec.Raw], model: str) -> None:
        self.body = body
        self.model = model
        self._fields = fields

    @classmethod
    def parse(cls, headers: Headers, body: bytes) -> InferenceRequest:
        """Read one. Raises RefusedError (400, 415).

        What no engine could read is refused here, where it is not held against an adapter. Other media types are
        refused because a web page may send those to any address without asking.
        """
        media_type = (header(headers, b"content-type") or "").partition(";")[0].strip().lower()
        if media_type != "application/json":
            raise RefusedError(415, "The content type must be application/json.")
        try:
            fields = _members(body)
            if not body.isascii():
                str(body, "utf-8")
            model = _NAME.decode(fields["model"])
        except msgspec.ValidationError:
            # It is JSON: either no object, or its `model` no string.
            model = ""
        except KeyError:
            model = ""
        except (msgspec.DecodeError, ValueError, RecursionError):
            raise RefusedError(400, "The request body is not JSON.") from None
        if not model:
            # An engine would answer from its base model, which is nobody's choice.
            raise RefusedError(400, "You must provide a model parameter.", param="model")
        return cls(body, fields, model)

    def text(self, *path: str) -> str | None:
        """The string, or the whole number, at a path of names, stripped; None if there is no such."""
        raw = self._fields.get(path[0])
        try:
            value: object = None if raw is None else _VALUE.decode(raw)
        except (msgspec.DecodeError, RecursionError):
            return None
        for name in path[1:]:
            value = value.get(name) if isinstance(value, dict) else None
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        return value.strip() or None if isinstance(value, str) else None

    def names_urls(self) -> bool:
        """Whether it names addresses for the server to fetch: pictures, sounds, files."""
        raw = self._fields.get("messages") or self._fields.get("input")
        return raw is not None and _URL.search(raw) is not None

    def holds(self, name: str) -> bool:
        """Whether there is a value of that name which says anything."""
        return bytes(self._fields.get(name, b"null")) not in (b"null", b"false")

    def roles(self) -> frozenset[str]:
        """Who speaks in the conversation; nobody where there is none that can be read."""
        try:
            return frozenset(turn.role for turn in _TURNS.decode(self._fields.get("messages", b"[]")))
        except (msgspec.DecodeError, RecursionError):
            return frozenset()

    def to(self, served: str) -> bytes:
        """The body for one served adapter. One key of that name is left, whatever the client had sent."""
        return msgspec.json.encode({**self._fields, "model": served})

    def as_copy(self, served: str, **changes: object) -> bytes:
        """The body of a shadow copy: not streamed, and without tools, which could have effects."""
        kept = {key: value for key, value in self._fields.items() if key not in _ONLY_FOR_THE_USER}
        return msgspec.json.encode({**kept, **changes, "model": served})


class _Turn(msgspec.Struct):
    role: str = ""


_TURNS = msgspec.json.Decoder(list[_Turn])


class _Member(str):
    """The name of a member, counted as it is read: millions of them would take many times the body's own size."""

    __slots__ = ()
    most = 1000
    left = most

    @classmethod
    def read(cls, kind: type, name: str) -> _Member:
        _Member.left -= 1
        if _Member.left < 0:
            raise RefusedError(400, f"The request body holds more than {cls.most} members.")
        return kind(name)  # type: ignore[no-any-return]


def _members(body: bytes) -> dict[str, msgspec.Raw]:
    """The members of an object, unread. One decoder serves all, since nothing else runs while it does."""
    _Member.left = _Member.most
    return {str(name): value for name, value in _FIELDS.decode(body).items()}


_FIELDS = msgspec.json.Decoder(dict[_Member, msgspec.Raw], dec_hook=_Member.read)
_URL = re.compile(rb'"(?:[a-z]+_)?url"\s*:\s*"https?:', re.IGNORECASE)
_NAME = msgspec.json.Decoder(str)
_VALUE = msgspec.json.Decoder()


def refuse_constant(constant: str) -> NoReturn:
    """For `json.loads`: NaN and the infinities are not JSON."""
    raise ValueError(f"{constant} is not JSON")


def unknown_model(model: str) -> RefusedError:
    """The refusal of a logical name without a route."""
    shown = model if len(model) <= 100 else f"{model[:100]}…"
    return RefusedError(404, f"The model `{shown}` does not exist.", code="model_not_found", param="model")


def header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> str | None:
    """The first value of a header (`name` in lower case), stripped; None if absent or empty."""
    for key, value in headers:
        if key.lower() == name:
            return value.decode("latin-1").strip() or None
    return None


def end_to_end(headers: Headers) -> Headers:
    """Headers (names in lower case) without those that are meant for the next hop only."""
    named = {
        token.strip().lower() for key, value in headers if key == b"connection" for token in value.split(b",")
    }
    return [(key, value) for key, value in headers if key not in _HOP_BY_HOP and key not in named]


def for_upstream(headers: Iterable[tuple[bytes, bytes]], length: int) -> Headers:
    """Request headers for a body of ours, of `length` bytes.

    Compression is declined: the answer must be readable on its way through.
    """
    kept = end_to_end([(key.lower(), value) for key, value in headers])
    return [
        *((key, value) for key, value in kept if key not in _OF_THE_CLIENT),
        (b"accept-encoding", b"identity"),
        (b"content-type", b"application/json"),
        (b"content-length", str(length).encode()),
    ]
