"""The rows of one HTTP request, from the event loop's side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from rollout.core.generation import Decoding, Finish, Token
from rollout.server.answer import Answer, Piece
from rollout.server.decoder import Codec
from rollout.server.errors import Refusal
from rollout.server.worker import Failure, Sink, Worker


@dataclass(slots=True)
class Choice:
    """One answer so far. `offsets` holds where each token's text begins."""

    index: int
    text: str = ""
    tokens: list[Token] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    finish: Finish | None = None

    def add(self, piece: Piece) -> None:
        """Take in one piece."""
        self.offsets.append(len(self.text))
        self.text += piece.text
        self.tokens.append(piece.token)
        self.finish = piece.finish


class Rows:
    """Submits one row a prompt and yields their pieces as they come."""

    def __init__(
        self, worker: Worker, codec: Codec, asked: Sequence[Decoding], stops: tuple[str, ...]
    ) -> None:
        if not worker.healthy:
            raise Refusal(500, "InternalServerError", "the engine is dead")
        if worker.full:
            raise Refusal(503, "ServiceUnavailable", "too many requests are waiting")
        self._worker = worker
        self._pieces: asyncio.Queue[tuple[int, Piece | Failure]] = asyncio.Queue()
        self._prompt_tokens = sum(len(row.prompt) for row in asked)
        self.choices = [Choice(index) for index in range(len(asked))]
        self._numbers = [
            worker.submit(row, Answer(codec.stream(), stops), self._sink(index))
            for index, row in enumerate(asked)
        ]

    async def pieces(self) -> AsyncIterator[tuple[Choice, Piece]]:
        """Each piece with its choice, to which it has been added. Raises Refusal if the engine fails."""
        open_rows = len(self.choices)
        while open_rows:
            index, piece = await self._pieces.get()
            if isinstance(piece, Failure):
                raise Refusal(500, "InternalServerError", piece.message)
            self.choices[index].add(piece)
            open_rows -= piece.finish is not None
            yield self.choices[index], piece

    async def finish(self) -> None:
        """Wait for all of them."""
        async for _ in self.pieces():
            pass

    def cancel(self) -> None:
        """Free the rows; those that are done are left alone."""
        for number in self._numbers:
            self._worker.cancel(number)

    def usage(self) -> dict[str, int]:
        """Token counts in OpenAI's form."""
        made = sum(len(choice.tokens) for choice in self.choices)
        return {
            "prompt_tokens": self._prompt_tokens,
            "completion_tokens": made,
            "total_tokens": self._prompt_tokens + made,
        }

    def _sink(self, index: int) -> Sink:
        return lambda piece: self._pieces.put_nowait((index, piece))
