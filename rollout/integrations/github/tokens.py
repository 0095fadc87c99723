"""A token that cannot be shown by accident, read when it is first needed."""

from __future__ import annotations

from typing import Final

from rollout.bearer import token_from
from rollout.errors import ForgeDenied, Usage

WHAT_RIGHTS: Final = (
    "`Contents` and `Pull requests`, both read and write, on this repository (docs/github.md says the rest)"
)


class Token:
    """A token by the environment variable that holds it. Its representation is the variable."""

    __slots__ = ("variable",)

    def __init__(self, variable: str) -> None:
        self.variable = variable

    def __repr__(self) -> str:
        return f"Token(from {self.variable})"

    @property
    def secret(self) -> str:
        """The token itself, for a header. Raises ForgeDenied if there is none, or it is no token."""
        try:
            secret = token_from(self.variable)
        except Usage as error:
            raise ForgeDenied(error.message, advice=error.advice) from None
        if secret is None:
            raise ForgeDenied(
                f"{self.variable} is not set: GitHub needs a token",
                advice=f"Set {self.variable} to a token with {WHAT_RIGHTS}, then run the command again.",
            )
        return secret

    def hidden_in(self, text: str) -> str:
        """A text without the token, should somebody have sent it back to us, even with what does not print in it."""
        try:
            secret = token_from(self.variable)
        except Usage:
            return "(not shown)"
        if secret is None:
            return text
        text = text.replace(secret, "(token)")
        shown = "".join(letter for letter in text if letter.isprintable() and not letter.isspace())
        return "(token)" if secret in shown else text
