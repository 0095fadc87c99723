"""Decodes a batch of rows step by step; rows join and leave between two steps.

One step is either the prefill of the rows that are waiting, as one left-padded batch, or one token for every
running row. Rows that join are put beside the running ones by padding the shorter key-value cache on its left;
rotary positions are each row's own, so that the padding changes nothing in what is computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rollout.core.generation import Decoding, Finish, Token, likeliest
from rollout.errors import LoadRefused, Usage
from rollout.integrations.transformers.adapters import AdapterSet
from rollout.integrations.transformers.loading import Base


@dataclass(slots=True)
class _Row:
    number: int
    asked: Decoding
    made: int = 0
    last: int = -1
    generator: Any = field(default=None, repr=False)


class BatchDecoder:
    """Continuous batches of mixed adapters on one base. For one thread only."""

    def __init__(self, base: Base, *, max_rank: int | None = None) -> None:
        self._base = base
        self._adapters = AdapterSet(base, max_rank=max_rank)
        self._ends = base.end_tokens
        self._waiting: list[_Row] = []
        self._running: list[_Row] = []
        self._cache: Any = None
        self._mask: Any = None

    @property
    def context_length(self) -> int:
        """Longest prompt and answer together, in tokens."""
        return self._base.context_length

    @property
    def vocabulary(self) -> int:
        """Number of token ids."""
        return self._base.vocabulary

    @property
    def busy(self) -> bool:
        """Whether a step would do something."""
        return bool(self._waiting or self._running)

    def load(self, key: str, folder: Path) -> None:
        """Load an adapter under a key; see AdapterSet.load."""
        self._adapters.load(key, folder)

    def unload(self, key: str) -> None:
        """Forget an adapter that no row uses."""
        if any(row.asked.adapter == key for row in (*self._waiting, *self._running)):
            raise Usage(f"the adapter key {key} is in use")
        self._adapters.unload(key)

    def add(self, number: int, asked: Decoding) -> None:
        """Let a row join at the next step. Raises LoadRefused for an adapter that is not loaded."""
        if asked.adapter is not None and asked.adapter not in self._adapters:
            raise LoadRefused(f"the adapter key {asked.adapter} is not loaded")
        if (
            not asked.prompt
            or len(asked.prompt) + asked.max_tokens > self.context_length
            or asked.max_tokens < 1
        ):
            raise Usage("a row needs a prompt, a token to make, and room for both in the context")
        self._waiting.append(_Row(number=number, asked=asked, generator=self._generator(asked)))

    def drop(self, number: int) -> None:
        """Let a row leave; one that is not there is success."""
        self._waiting = [row for row in self._waiting if row.number != number]
        self._keep([row.number != number for row in self._running])

    def step(self) -> list[tuple[int, Token]]:
        """One step; the tokens it made, by the number of their row. Finished rows have left."""
        import torch

        with torch.inference_mode():
            rows, logits = self._prefill() if self._waiting else self._advance()
            made = list(zip((row.number for row in rows), self._choose(rows, logits), strict=True))
            finished = {number for number, token in made if token.finish is not None}
            self._keep([row.number not in finished for row in self._running])
        return made

    def read(
        self, prompt: Sequence[int], adapter: str | None, *, first: int = 1, top: int = 0
    ) -> tuple[Token, ...]:
        """How an adapter reads the tokens of a prompt from place `first` on; the one at place 0 follows nothing.

        Raises LoadRefused for an adapter that is not loaded.
        """
        import torch

        if adapter is not None and adapter not in self._adapters:
            raise LoadRefused(f"the adapter key {adapter} is not loaded")
        read = list(prompt[first:])
        ids = torch.tensor([list(prompt)], device=self._base.device)
        with torch.inference_mode():
            output = self._adapters.forward(
                [adapter], input_ids=ids, use_cache=False, logits_to_keep=len(read) + 1
            )
            table = output.logits[0, :-1].float().cpu().log_softmax(-1)
            tops = table.topk(min(top, self.vocabulary))
        return tuple(
            Token(id=token, logprob=float(row[token]), top=likeliest(zip(ids, values, strict=True), top))
            for token, row, ids, values in zip(
                read, table, tops.indices.tolist(), tops.values.tolist(), strict=True
            )
        )

    def _generator(self, asked: Decoding) -> Any:
        if asked.temperature == 0:
            return None
        import torch

        return torch.Generator().manual_seed(asked.seed)

    def _prefill(self) -> tuple[list[_Row], Any]:
        import torch
        from transformers import DynamicCache

        rows, self._waiting = self._waiting, []
        longest = max(len(row.asked.prompt) for row in rows)
        ids = torch.zeros((len(rows), longest), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for index, row in enumerate(rows):
            ids[index, longest - len(row.asked.prompt) :] = torch.tensor(row.asked.prompt)
            mask[index, longest - len(row.asked.prompt) :] = 1
        ids, mask = ids.to(self._base.device), mask.to(self._base.device)
        cache = DynamicCache(config=self._base.model.config)
        logits = self._forward(rows, ids, mask, (mask.cumsum(-1) - 1).clamp(min=0), cache)
        self._join(rows, cache, mask)
        return rows, logits

    def _advance(self) -> tuple[list[_Row], Any]:
        import torch

        rows = list(self._running)
        ids = torch.tensor([[row.last] for row in rows], device=self._base.device)
        positions = self._mask.sum(-1, keepdim=True)
        self._mask = torch.cat([self._mask, torch.ones_like(positions)], dim=-1)
        return rows, self._forward(rows, ids, self._mask, positions, self._cache)

    def _forward(self, rows: list[_Row], ids: Any, mask: Any, positions: Any, cache: Any) -> Any:
        output = self._adapters.forward(
            [row.asked.adapter for row in rows],
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return output.logits[:, -1].float().cpu()

    def _choose(self, rows: list[_Row], logits: Any) -> list[Token]:
        table = logits.log_softmax(-1)
        best = logits.argmax(-1).tolist()
        tokens = []
        for index, row in enumerate(rows):
            chosen = best[index] if row.generator is None else _sample(logits[index], row, best[index])
            row.made, row.last = row.made + 1, chosen
            top: tuple[tuple[int, float], ...] = ()
            if row.asked.top_logprobs:
                values, ids = table[index].topk(row.asked.top_logprobs)
                top = tuple(zip(ids.tolist(), values.tolist(), strict=True))
            tokens.append(
                Token(id=chosen, logprob=float(table[index, chosen]), top=top, finish=self._finish(row))
            )
        return tokens

    def _finish(self, row: _Row) -> Finish | None:
        if row.last in self._ends and not row.asked.ignore_end:
            return "stop"
        return "length" if row.made >= row.asked.max_tokens else None

    def _join(self, rows: list[_Row], cache: Any, mask: Any) -> None:
        import torch

        if not self._running:
            self._running, self._cache, self._mask = rows, cache, mask
            return
        width = max(self._mask.shape[1], mask.shape[1])
        for old, new in zip(self._cache.layers, cache.layers, strict=True):
            old.keys = torch.cat([_pad(old.keys, width), _pad(new.keys, width)])
            old.values = torch.cat([_pad(old.values, width), _pad(new.values, width)])
        grow = torch.nn.functional.pad
        self._mask = torch.cat(
            [grow(part, (width - part.shape[1], 0)) for part in (self._mask, mask)],
        )
        self._running = self._running + rows

    def _keep(self, kept: list[bool]) -> None:
        if all(kept):
            return
        self._running = [row for row, keep in zip(self._running, kept, strict=True) if keep]
        if not self._running:
            self._cache = self._mask = None
            return
        import torch

        rows = torch.tensor([index for index, keep in enumerate(kept) if keep], device=self._base.device)
        self._mask = self._mask[rows]
        first = int(self._mask.any(0).int().argmax())
        self._mask = self._mask[:, first:]
        for layer in self._cache.layers:
            layer.keys, layer.values = layer.keys[rows, :, first:], layer.values[rows, :, first:]


def _pad(states: Any, width: int) -> Any:
    import torch

    return torch.nn.functional.pad(states, (0, 0, width - states.shape[-2], 0))


def _sample(logits: Any, row: _Row, best: int) -> int:
    """Nucleus sampling. A row whose values are not finite gets the greedy choice: there is nothing to draw from."""
    import torch

    if not bool(torch.isfinite(logits).all()):
        return best
    shares, ids = (logits / row.asked.temperature).softmax(-1).sort(descending=True)
    shares[shares.cumsum(-1) - shares >= row.asked.top_p] = 0
    return int(ids[torch.multinomial(shares, 1, generator=row.generator)])
