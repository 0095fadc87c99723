"""Text to tokens and back, with the tokenizer and the chat template of the base."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rollout.errors import Unreadable
from rollout.ports import Message


class TextCodec:
    """The base's tokenizer. Safe to use from several threads: nothing in it is changed after the start."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._backend = tokenizer.backend_tokenizer
        # Padding and truncation are settings of the shared backend: a prompt must never be cut in silence.
        self._backend.no_padding()
        self._backend.no_truncation()

    def encode(self, text: str) -> tuple[int, ...]:
        """Tokens of a plain prompt, with the special tokens that the tokenizer adds by itself."""
        return tuple(self._backend.encode(text, add_special_tokens=True).ids)

    def encode_chat(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Tokens of a conversation, up to where the assistant begins.

        Raises Unreadable if there is no chat template or it refuses the conversation.
        """
        turns = [{"role": message.role, "content": message.content} for message in messages]
        try:
            text = self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        except Exception as error:  # the template is a program of the model's: it may raise anything
            raise Unreadable(f"the chat template refuses the conversation: {str(error)[:200]}") from error
        ids = self.encode_continuation(text)
        if not ids:
            raise Unreadable("the chat template makes an empty prompt of the conversation")
        return ids

    def encode_continuation(self, text: str) -> tuple[int, ...]:
        """Tokens of a text that follows others, without special tokens."""
        return tuple(self._backend.encode(text, add_special_tokens=False).ids)

    @property
    def end_tokens(self) -> frozenset[int]:
        """The tokenizer's own end token; the model may have further ones."""
        end = self._tokenizer.eos_token_id
        return frozenset() if end is None else frozenset({int(end)})

    def decode(self, ids: Sequence[int]) -> str:
        """The text of an answer, without special tokens."""
        text: str = self._backend.decode(list(ids), skip_special_tokens=True)
        return text

    def token_text(self, token: int) -> str:
        """One token alone as text; a part of a character shows as U+FFFD, and special tokens by their name."""
        text: str = self._backend.decode([token], skip_special_tokens=False)
        return text

    def stream(self) -> TokenStream:
        """A new stream from tokens to text."""
        return TokenStream(self._backend)


class TokenStream:
    """Text of one answer as its tokens come, in whole characters: it never shows half of one."""

    def __init__(self, backend: Any) -> None:
        from tokenizers.decoders import DecodeStream

        self._backend = backend
        self._decoder = DecodeStream(skip_special_tokens=True)
        self._ids: list[int] = []
        self._given = 0

    def feed(self, token: int) -> str:
        """The characters that this token completes, often none."""
        self._ids.append(token)
        text: str = self._decoder.step(self._backend, token) or ""
        self._given += len(text)
        return text

    def rest(self) -> str:
        """What is left at the end: an unfinished character, as U+FFFD."""
        whole: str = self._backend.decode(self._ids, skip_special_tokens=True)
        return whole[self._given :]
