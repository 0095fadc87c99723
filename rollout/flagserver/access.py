"""Who asks: access tokens for the REST API, the SDK key for what SDKs read. Neither does for the other."""

from __future__ import annotations

import hmac
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from starlette.requests import Request

from rollout.flagserver.book import Json
from rollout.flagserver.refusal import Refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessToken:
    """A service token. One that `bypasses` writes where others need an approval."""

    secret: str = field(repr=False)
    name: str
    writes: bool = True
    bypasses: bool = False

    @property
    def id(self) -> str:
        """What the token is called where it must not be shown."""
        return uuid.uuid5(uuid.NAMESPACE_URL, f"token/{self.name}").hex[:24]

    def summary(self) -> Json:
        """The token in the audit log."""
        return {"_id": self.id, "name": self.name, "ending": self.secret[-4:], "serviceToken": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """The tokens and the SDK key of one server."""

    tokens: Sequence[AccessToken]
    sdk_key: str = field(repr=False)

    def token(self, request: Request) -> AccessToken:
        """Whose request this is. Raises Refusal 401 for anything but an access token, and 403 for a reader that writes."""
        given = _given(request)
        if self._is_sdk_key(given):
            raise Refusal(401, "This is an SDK key. The REST API takes access tokens.")
        for token in self.tokens:
            if _same(given, token.secret):
                if request.method != "GET" and not token.writes:
                    raise Refusal(403, f"The token {token.name} may only read.")
                return token
        said = " It is sent raw, without `Bearer`." if given.lower().startswith("bearer ") else ""
        raise Refusal(401, f"Invalid access token.{said}")

    def require_sdk_key(self, request: Request) -> None:
        """Raise Refusal 401 unless an SDK asks with its key."""
        if not self._is_sdk_key(_given(request)):
            raise Refusal(401, "Invalid SDK key.")

    def _is_sdk_key(self, given: str) -> bool:
        return _same(given, self.sdk_key)


def _given(request: Request) -> str:
    return request.headers.get("authorization", "")


def _same(given: str, own: str) -> bool:
    return hmac.compare_digest(given.encode(), own.encode())
