"""What the server needs of a model. The transformers integration has both; the composition brings them together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from rollout.core.generation import Decoding, Token
from rollout.ports import Message


class Decoder(Protocol):
    """A running batch of rows. All calls come from one thread."""

    def load(self, key: str, folder: Path) -> None:
        """Load an adapter. Raises LoadRefused or Unreadable, and is then as before."""
        ...

    def unload(self, key: str) -> None:
        """Forget an adapter that no row uses."""
        ...

    def add(self, number: int, asked: Decoding) -> None:
        """Let a row join at the next step."""
        ...

    def drop(self, number: int) -> None:
        """Let a row leave."""
        ...

    def read(
        self, prompt: Sequence[int], adapter: str | None, *, first: int = 1, top: int = 0
    ) -> Sequence[Token]:
        """How an adapter reads a prompt from place `first` on, without making a token."""
        ...

    def step(self) -> Sequence[tuple[int, Token]]:
        """Make the next tokens. Rows whose token carries `finish` have left."""
        ...


class TokenText(Protocol):
    """The text of one answer as its tokens come."""

    def feed(self, token: int) -> str:
        """The characters that this token completes, often none."""
        ...

    def rest(self) -> str:
        """What is left at the end."""
        ...


class Codec(Protocol):
    """Text to tokens and back; safe to use from several threads."""

    def encode(self, text: str) -> tuple[int, ...]:
        """Tokens of a plain prompt."""
        ...

    def encode_chat(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Tokens of a conversation. Raises Unreadable if the chat template refuses it."""
        ...

    def encode_continuation(self, text: str) -> tuple[int, ...]:
        """Tokens of a text that follows others, without special tokens."""
        ...

    def token_text(self, token: int) -> str:
        """One token alone as text."""
        ...

    def stream(self) -> TokenText:
        """A new stream from tokens to text."""
        ...
