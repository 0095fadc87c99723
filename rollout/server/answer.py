"""One answer as it grows: tokens in, pieces of text out, cut at a stop text."""

from __future__ import annotations

from dataclasses import dataclass

from rollout.core.generation import Finish, Token
from rollout.server.decoder import TokenText


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What one token added to an answer. The text may be empty: part of a character, or of a stop text."""

    text: str
    token: Token
    finish: Finish | None


class Answer:
    """The text of one row. A stop text is looked for across pieces and never shown."""

    def __init__(self, text: TokenText, stops: tuple[str, ...] = ()) -> None:
        self._text = text
        self._stops = stops
        self._held = ""

    def feed(self, token: Token) -> Piece:
        """The piece that this token adds; `finish` on the last one, `stop` also where a stop text was met."""
        self._held += self._text.feed(token.id)
        if token.finish is not None:
            self._held += self._text.rest()
        cut = self._first_stop()
        if cut is not None:
            return Piece(text=self._held[:cut], token=token, finish="stop")
        keep = 0 if token.finish is not None else self._undecided()
        shown = self._held[: len(self._held) - keep]
        self._held = self._held[len(shown) :]
        return Piece(text=shown, token=token, finish=token.finish)

    def _first_stop(self) -> int | None:
        found = [self._held.find(stop) for stop in self._stops]
        return min((at for at in found if at >= 0), default=None)

    def _undecided(self) -> int:
        """Length of the longest end of the text that may become a stop text."""
        longest = 0
        for stop in self._stops:
            for length in range(min(len(stop) - 1, len(self._held)), longest, -1):
                if self._held.endswith(stop[:length]):
                    longest = length
                    break
        return longest
