"""Files of a Hugging Face repository at one commit: `hf://organisation/repository@commit/folder`.

huggingface_hub builds the address, finds the token and reads what the Hub says of a file; the bytes then come
over the same connection as any other, so that they are resumed, bounded and verified in one place. HF_TOKEN and
HF_ENDPOINT are heard.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rollout.core.source import RemoteUri
from rollout.errors import Unreadable
from rollout.integrations.sources.answers import failure, missing_extra, refusal
from rollout.integrations.sources.redirects import authority, next_url
from rollout.integrations.sources.web import Web
from rollout.ports import Download

HUB = "https://huggingface.co"


class HubSource:
    """A folder of a repository, at the commit that pins it."""

    def __init__(self, uri: RemoteUri, *, stall_s: float) -> None:
        """`stall_s` is for how many seconds the Hub may be silent."""
        self._uri = uri
        self._endpoint = os.environ.get("HF_ENDPOINT", HUB).rstrip("/")
        self._stall_s = stall_s
        self._web = Web(self._endpoint, stall_s=stall_s)

    @contextmanager
    def open(self, name: str, offset: int) -> Iterator[Download]:
        """Begin to read one file, as `ArtifactSource.open` says."""
        try:
            from huggingface_hub.utils import build_hf_headers
        except ImportError:
            raise missing_extra("hf://") from None
        location = self._locate(name)
        credentials = {k: v for k, v in build_hf_headers().items() if k.lower() == "authorization"}
        with self._web.open(location, offset, credentials) as download:
            yield download

    def _locate(self, name: str) -> str:
        """Where the bytes lie today: on the Hub itself, or on whatever it stores large files on."""
        metadata = self._ask(name)
        if metadata.commit_hash != self._uri.pin:
            raise Unreadable(
                f"{self._uri} is answered from another commit",
                advice="Pin the full commit of the repository, as `git rev-parse` prints it.",
            )
        return next_url(self._endpoint, metadata.location)

    def _ask(self, name: str) -> Any:
        from huggingface_hub import get_hf_file_metadata, hf_hub_url
        from huggingface_hub.errors import HfHubHTTPError, HTTPError

        repository = f"{self._uri.authority}/{self._uri.path}"
        url = hf_hub_url(
            repository,
            name,
            subfolder=self._uri.below or None,
            revision=self._uri.pin,
            endpoint=self._endpoint,
        )
        host = authority(self._endpoint)[0]
        try:
            return get_hf_file_metadata(url, timeout=self._stall_s, endpoint=self._endpoint)
        except HfHubHTTPError as error:
            raise refusal(error.response.status_code, host) from None
        except (HTTPError, OSError) as error:
            raise failure(host, error) from None
