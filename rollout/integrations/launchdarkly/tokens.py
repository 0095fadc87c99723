"""An access token that cannot be shown by accident."""

from __future__ import annotations

from typing import Final

from rollout.errors import FlagDenied

# A dry run is named because it works without the token that is missing.
WHAT_ROLE: Final = "its least role: `rollout flag setup NAME -e ENV --dry-run`"
WHERE_LOCAL: Final = (
    "The tokens of a local `rollout flag serve` are in `<flags file>.tokens`: set them by `. FILE`."
)


class Token:
    """A token and the environment variable that it came from. Its representation is the variable."""

    __slots__ = ("_secret", "variable")

    def __init__(self, secret: str | None, variable: str) -> None:
        self._secret = secret
        self.variable = variable

    def __repr__(self) -> str:
        return f"Token(from {self.variable})"

    def __bool__(self) -> bool:
        return bool(self._secret)

    @property
    def secret(self) -> str:
        """The token itself, for a header. Raises FlagDenied if there is none, or it is a key of another kind."""
        if not self._secret:
            raise FlagDenied(
                f"{self.variable} is not set: LaunchDarkly's API needs an access token",
                advice=f"Set {self.variable} to a service token ({WHAT_ROLE}). {WHERE_LOCAL}",
            )
        if self._secret.startswith(("sdk-", "mob-")):
            raise FlagDenied(
                f"{self.variable} holds an SDK or mobile key, which cannot use LaunchDarkly's API",
                advice="It needs an access token (api-...); the SDK key belongs to the gateways.",
            )
        return self._secret

    def hidden_in(self, text: str) -> str:
        """A text without the token, should somebody have sent it back to us, even with what does not print in it."""
        if not self._secret:
            return text
        text = text.replace(self._secret, "(token)")
        shown = "".join(letter for letter in text if letter.isprintable() and not letter.isspace())
        return "(token)" if self._secret in shown else text
