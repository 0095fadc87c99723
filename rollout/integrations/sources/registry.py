"""Files of an artifact in an OCI registry, through ORAS: `oci://registry/repository@sha256:digest`.

The digest pins the manifest, the manifest pins its layers, and a layer's title is its file name. Docker's own
configuration says who we are to a registry; one on this machine is spoken to in plain http, as every client does.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from inspect import unwrap
from socket import getaddrinfo
from typing import Any

from rollout.core.source import RemoteUri
from rollout.errors import Unreadable
from rollout.integrations.sources.answers import failure, missing_extra, refusal
from rollout.integrations.sources.redirects import authority, check_address, next_url
from rollout.integrations.sources.web import Web
from rollout.ports import Download

MAX_MANIFEST = 4 << 20
MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_CONNECT_S = 10
_TITLE = "org.opencontainers.image.title"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class RegistrySource:
    """One artifact of a registry."""

    def __init__(self, uri: RemoteUri, *, stall_s: float) -> None:
        """`stall_s` is for how many seconds the registry may be silent."""
        self._uri = uri
        scheme = "http" if authority(f"https://{uri.authority}")[0] in _LOOPBACK else "https"
        self._origin = f"{scheme}://{uri.authority}"
        self._stall_s = stall_s
        self._web = Web(self._origin, stall_s=stall_s)

    @contextmanager
    def open(self, name: str, offset: int) -> Iterator[Download]:
        """Begin to read one file, as `ArtifactSource.open` says."""
        digest = self._layers().get(name)
        if digest is None:
            raise Unreadable(f"{self._uri} has no layer that is titled {name!r}")
        url = f"{self._origin}/v2/{self._uri.path}/blobs/{digest}"
        with self._web.open(url, offset, self._registry.auth.get_auth_header()) as download:
            yield download

    def _layers(self) -> Mapping[str, str]:
        """Digests by title. Asked anew for each file, which also renews a token that has run out."""
        content = self._manifest()
        if f"sha256:{hashlib.sha256(content).hexdigest()}" != self._uri.pin:
            raise Unreadable(f"{self._uri.authority} answers another manifest than the one that is pinned")
        try:
            layers = json.loads(content)["layers"]
            found = {layer.get("annotations", {}).get(_TITLE): layer["digest"] for layer in layers}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise Unreadable(f"{self._uri} is no artifact with layers") from None
        return {str(title): digest for title, digest in found.items() if _DIGEST.fullmatch(str(digest))}

    def _manifest(self) -> bytes:
        from requests import RequestException

        registry = self._registry
        url = f"{self._origin}/v2/{self._uri.path}/manifests/{self._uri.pin}"
        host = self._uri.authority
        try:
            with registry.do_request(
                url, headers={"Accept": ", ".join(MANIFEST_TYPES)}, stream=True
            ) as answer:
                if answer.status_code != 200:
                    raise refusal(answer.status_code, host)
                return _bounded(answer)
        except (RequestException, OSError) as error:
            raise failure(host, error) from None
        except ValueError:  # what oras says when it cannot answer a challenge
            raise refusal(401, host) from None

    @cached_property
    def _registry(self) -> Any:
        try:
            from oras.container import Container
            from oras.provider import Registry
        except ImportError:
            raise missing_extra("oci://") from None

        class Patient(Registry):  # type: ignore[misc]  # oras is not typed
            """ORAS without its own retries, which wait for minutes: whoever asks counts them."""

            do_request = unwrap(Registry.do_request)

        registry = Patient(self._uri.authority, insecure=self._origin.startswith("http://"))
        registry.session.max_redirects = 1
        for scheme in ("https://", "http://"):
            registry.session.mount(scheme, _checked_connections(self._origin, self._stall_s))
        container = Container(self._uri.path)
        # ORAS takes a host without a dot for a folder on Docker's hub, and would use the credentials for that.
        container.registry = self._uri.authority
        registry.auth.load_configs(container)
        return registry


def _bounded(answer: Any) -> bytes:
    content = b""
    for chunk in answer.iter_content(1 << 16):
        content += chunk
        if len(content) > MAX_MANIFEST:
            raise Unreadable(f"the manifest is larger than {MAX_MANIFEST} bytes")
    return content


def _checked_connections(origin: str, stall_s: float) -> Any:
    """Where ORAS connects to: the registry, and the service for tokens that it names."""
    from requests.adapters import HTTPAdapter

    class Checked(HTTPAdapter):  # type: ignore[misc]  # requests' types are not read
        def send(self, request: Any, *args: Any, **options: Any) -> Any:
            next_url(origin, request.url)
            asked = authority(request.url)
            for *_, address in getaddrinfo(*asked):
                check_address(str(address[0]), asked, authority(origin))
            return super().send(request, *args, **{**options, "timeout": (_CONNECT_S, stall_s)})

    return Checked()
