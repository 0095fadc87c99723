"""Who may use a guarded page: whoever sends the token that an environment variable holds."""

from __future__ import annotations

import hmac
import os
import re
from typing import NamedTuple

from rollout.errors import Usage

_SCHEME = b"bearer "


class Denial(NamedTuple):
    """Why somebody may not: an HTTP status and a sentence."""

    status: int
    message: str


class Bearer:
    """Compares bearer tokens with its own. Without any nobody may: an open page is never the default."""

    def __init__(self, *tokens: str) -> None:
        self._tokens = tuple(token.encode() for token in tokens if token)
        self.denied = 0
        """Attempts without the right token so far."""

    def __repr__(self) -> str:
        return f"Bearer({len(self._tokens)} tokens)"

    def knows(self, token: bytes) -> bool:
        """Whether a token is one of its own. Takes as long for any wrong token."""
        return any(hmac.compare_digest(token, own) for own in self._tokens)

    def deny(self, authorization: bytes | None) -> Denial | None:
        """Why the sender of this `authorization` header may not, or None. Takes as long for any wrong token."""
        if not self._tokens:
            self.denied += 1
            return Denial(403, "No token is configured here, so that this page does nothing (`token_env`).")
        given = authorization or b""
        token = given[len(_SCHEME) :].strip() if given[: len(_SCHEME)].lower() == _SCHEME else b""
        if self.knows(token):
            return None
        self.denied += 1
        return Denial(401, "This page needs the token, as `Authorization: Bearer ...`.")


def token_from(variable: str | None) -> str | None:
    """The token that an environment variable holds; None if none is named, or it is unset or empty.

    Raises Usage for what cannot stand in a header, without a word of what it is.
    """
    token = os.environ.get(variable) or None if variable else None
    if token is not None and not re.fullmatch(r"[!-~]+", token):
        raise Usage(
            f"{variable} holds something that is no token: a blank, the end of a line, or no ASCII",
            advice="Set it to the token alone, or unset it.",
        )
    return token
