"""Bytes over HTTP(S), through fsspec: from an offset on, each redirect looked at before it is followed.

Host names are checked while they are resolved for the connection itself, so that nobody can answer one way
when asked and another way when called.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from rollout.core.source import RemoteUri
from rollout.errors import Unavailable, Unreadable
from rollout.integrations.sources.answers import failure, missing_extra, range_start, refusal
from rollout.integrations.sources.redirects import (
    MAX_REDIRECTS,
    STATUSES,
    Authority,
    authority,
    check_address,
    next_url,
    sent_to,
)
from rollout.ports import Download

_CHUNK = 1 << 18
_CONNECT_S = 10.0


class WebSource:
    """A folder on a web server: its files are at `https://host/path/NAME`."""

    def __init__(self, uri: RemoteUri, *, stall_s: float) -> None:
        self._folder = str(uri)
        self._web = Web(self._folder, stall_s=stall_s)

    @contextmanager
    def open(self, name: str, offset: int) -> Iterator[Download]:
        """Begin to read one file, as `ArtifactSource.open` says."""
        with self._web.open(f"{self._folder}/{name}", offset) as download:
            yield download


class Web:
    """One admitted host, and whoever it leads to."""

    def __init__(self, origin: str, *, stall_s: float) -> None:
        """`origin` is a URL of the admitted host; `stall_s` is for how many seconds a server may be silent."""
        self._origin = authority(origin)
        self._stall_s = stall_s

    @contextmanager
    def open(self, url: str, offset: int, headers: Mapping[str, str] | None = None) -> Iterator[Download]:
        """One resource from `offset` bytes on, as `ArtifactSource.open` says. `headers` are for the origin alone."""
        asked = {"Accept-Encoding": "identity", **(headers or {})}
        if offset:
            asked["Range"] = f"bytes={offset}-"
        stream = self._follow(url, asked)
        try:
            yield self._download(stream, offset)
        finally:
            stream.close()

    def _follow(self, url: str, headers: dict[str, str]) -> Any:
        for _ in range(MAX_REDIRECTS + 1):
            asked = authority(url)
            check_address(asked[0], asked, self._origin)
            stream = self._get(url, sent_to(asked, headers, self._origin))
            if stream.r.status not in STATUSES:
                return stream
            stream.close()
            url = next_url(url, stream.r.headers.get("Location", ""))
        raise Unreadable(f"{self._origin[0]} redirects more than {MAX_REDIRECTS} times")

    def _get(self, url: str, headers: dict[str, str]) -> Any:
        files = self._files
        with self._plainly(url):
            # A size is given so that fsspec does not ask for it first, by a request that follows redirects.
            return files.open(url, "rb", block_size=0, size=1, headers=headers, allow_redirects=False)

    def _download(self, stream: Any, offset: int) -> Download:
        response = stream.r
        if response.status >= 400:
            raise refusal(response.status, response.url.host)
        if response.status == 200:
            return Download(start=0, size=response.content_length, chunks=self._chunks(stream))
        first, size = range_start(response.headers.get("Content-Range"))
        if response.status != 206 or first != offset:
            raise Unavailable(f"{response.url.host} answers another range of bytes than it was asked for")
        return Download(start=offset, size=size, chunks=self._chunks(stream))

    def _chunks(self, stream: Any) -> Iterator[bytes]:
        while True:
            with self._plainly(stream.url):
                chunk = stream.read(_CHUNK)
            if not chunk:
                return
            yield chunk

    @contextmanager
    def _plainly(self, url: str) -> Iterator[None]:
        """Errors in our words."""
        from aiohttp import ClientConnectorCertificateError, ClientError

        host = authority(url)[0]
        try:
            yield
        except ClientConnectorCertificateError:
            raise Unreadable(f"the certificate of {host} is not trusted") from None
        except (ClientError, OSError) as error:
            raise failure(host, error) from None

    @cached_property
    def _files(self) -> Any:
        try:
            import aiohttp
            from fsspec.implementations.http import HTTPFileSystem
        except ImportError:
            raise missing_extra("https://") from None

        class Files(HTTPFileSystem):  # type: ignore[misc]  # fsspec is not typed
            def _raise_not_found_for_status(self, response: Any, url: str) -> None:
                """Every answer is looked at where it was asked for, and closed there."""

        async def client(**options: Any) -> Any:
            # The context is made here and not at import: whoever sets SSL_CERT_FILE is heard.
            connector = aiohttp.TCPConnector(
                resolver=_resolver(self._origin), ssl=ssl.create_default_context()
            )
            return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), **options)

        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=self._stall_s)
        options = {"timeout": timeout, "auto_decompress": False}
        return Files(get_client=client, client_kwargs=options, skip_instance_cache=True, encoded=True)


def _resolver(origin: Authority) -> Any:
    from aiohttp.abc import AbstractResolver
    from aiohttp.resolver import ThreadedResolver

    class CheckedNames(AbstractResolver):  # type: ignore[misc]  # aiohttp's types are not read
        """The operating system's resolver; private addresses are for the origin alone."""

        def __init__(self) -> None:
            self._names = ThreadedResolver()

        async def resolve(self, host: str, port: int = 0, family: Any = 0) -> Any:
            found = await self._names.resolve(host, port, family)
            for each in found:
                check_address(each["host"], (host.lower(), port), origin)
            return found

        async def close(self) -> None:
            await self._names.close()

    return CheckedNames()
