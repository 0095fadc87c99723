"""One request to one replica: the bytes go as they are and come back as they are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import quote

import aiohttp
import yarl

from rollout.gateway.openai import Headers, Scope
from rollout.gateway.upstream.pool import Address

_CONNECT_S = 2.0
# Shorter than any server's keep-alive, so that a connection is not reused as it is being closed.
_KEEP_ALIVE_S = 2.0
_LARGEST_HEADER = 64 * 1024
_PIECE = 256 * 1024
_PRINTABLE = "".join(map(chr, range(0x21, 0x7F))).replace("#", "")
_NO_HEADERS_OF_ITS_OWN = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


class NoAnswerError(Exception):
    """A replica did not answer. The text is fit for a log: it holds nothing of the request."""

    timed_out = False


class SilentError(NoAnswerError):
    """It said nothing for too long."""

    timed_out = True


class UnreachableError(NoAnswerError):
    """There was no connection: nothing was sent, so that another replica may be asked."""


def open_session(read_timeout_s: float) -> aiohttp.ClientSession:
    """What all requests share: connections that are kept, as many as there are requests, and nothing else."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_S),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=read_timeout_s),
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=_NO_HEADERS_OF_ITS_OWN,
        auto_decompress=False,
        max_line_size=_LARGEST_HEADER,
        max_field_size=_LARGEST_HEADER,
    )


async def ask(
    session: aiohttp.ClientSession, address: Address, scope: Scope, body: bytes
) -> aiohttp.ClientResponse:
    """The head of a replica's answer. Raises NoAnswerError. To be closed by the caller, read or not."""
    try:
        return await session.request(
            scope["method"],
            _url(address, scope),
            headers=_text(scope["headers"]),
            data=body if len(body) <= _PIECE else _pieces(body),
            allow_redirects=False,
        )
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise failure_of(error) from error


def failure_of(error: Exception) -> NoAnswerError:
    """What an error of the connection means, in words that hold nothing of the request."""
    match error:
        case aiohttp.ClientConnectorError() | aiohttp.ConnectionTimeoutError():
            return UnreachableError("it could not be reached")
        case TimeoutError():
            return SilentError("it was silent for too long")
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError():
            return NoAnswerError("it closed the connection")
        case aiohttp.ClientResponseError() | aiohttp.ClientPayloadError():
            return NoAnswerError("it does not speak HTTP")
        case _:
            return NoAnswerError(f"it could not be asked ({type(error).__name__})")


def _url(address: Address, scope: Scope) -> yarl.URL:
    url = address.url.rstrip("/") + quote(scope["path"], safe="/")
    if query := scope.get("query_string"):
        # A number sign would begin a fragment, and nothing behind it would be sent.
        url += "?" + quote(query, safe=_PRINTABLE)
    return yarl.URL(url, encoded=True)


def _text(headers: Headers) -> list[tuple[str, str]]:
    """Headers as aiohttp takes them; it writes them down as UTF-8, so bytes that are not come out as Latin-1 does."""
    return [(key.decode("latin-1"), _decoded(value)) for key, value in headers if key != b"host"]


def _decoded(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


async def _pieces(body: bytes) -> AsyncIterator[memoryview]:
    """A large body piece by piece: nobody else waits until the whole of it is handed to the system."""
    view = memoryview(body)
    for start in range(0, len(view), _PIECE):
        yield view[start : start + _PIECE]
