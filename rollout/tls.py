"""Whose certificates are trusted: one set for all connections of this process, since reading it takes 20 ms each time."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl


@cache
def trusted(*, by_environment: bool = False) -> ssl.SSLContext:
    """The authorities of httpx; with `by_environment` those of SSL_CERT_FILE or SSL_CERT_DIR where they are set."""
    import httpx

    return httpx.create_ssl_context(trust_env=by_environment)
